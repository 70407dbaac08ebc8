/**
 * kafkajs 2.2.4 keeps a timer per connection that looks for throttled requests. When there are none it asks for a negative
 * delay, which Node turns into 1 ms: an idle process wakes a thousand times a second per connection (its issue 1556), and
 * Node from 23 on prints a TimeoutNegativeWarning. Here that one method is put right: no pending request, no timer.
 * The library is unmaintained and pinned, so the method can't change under us; if it is gone, the start fails.
 */
import { createRequire } from 'node:module'

interface RequestQueue {
  readonly pending: readonly unknown[]
  readonly throttledUntil: number
  throttleCheckTimeoutId: NodeJS.Timeout | null
  checkPendingRequests(): void
}

interface RequestQueueClass {
  readonly prototype: { scheduleCheckPendingRequests?(this: RequestQueue): void }
}

/** How soon a request is tried again that waits for others to be answered: the library's own figure. */
const PENDING_CHECK_MS = 10

/** Idempotent. Called once by whoever makes a client. */
export function stopIdleTimers(): void {
  const queueClass: RequestQueueClass = createRequire(import.meta.url)('kafkajs/src/network/requestQueue/index.js')
  if (queueClass.prototype.scheduleCheckPendingRequests === undefined) {
    throw new Error('kafkajs is not the version whose idle timers are known (2.2.4)')
  }
  queueClass.prototype.scheduleCheckPendingRequests = scheduleWhilePending
}

function scheduleWhilePending(this: RequestQueue): void {
  if (this.throttleCheckTimeoutId !== null || this.pending.length === 0) return
  const throttledMs = this.throttledUntil - Date.now()
  this.throttleCheckTimeoutId = setTimeout(
    () => {
      this.throttleCheckTimeoutId = null
      this.checkPendingRequests()
    },
    throttledMs > 0 ? throttledMs : PENDING_CHECK_MS
  )
}
