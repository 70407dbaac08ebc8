/**
 * The usage event log for a process that must start while the broker is away: quota checks need none. It connects at the first
 * append, and again at a later one when that failed.
 */
import type { UsageEventLog } from '../domain/api-ports.ts'
import type { UsageEvent } from '../domain/tokens/usage-event.ts'

type Closable = UsageEventLog & { close(): Promise<void> }

export class LateUsageEventLog implements UsageEventLog {
  readonly #connect: () => Promise<Closable>
  #log: Promise<Closable> | null = null

  constructor(connect: () => Promise<Closable>) {
    this.#connect = connect
  }

  async append(events: readonly UsageEvent[]): Promise<void> {
    const log = await this.connected()
    await log.append(events)
  }

  /** Calls that come while it connects share the attempt. */
  async connected(): Promise<Closable> {
    this.#log ??= this.#connect()
    try {
      return await this.#log
    } catch (error) {
      this.#log = null
      throw error
    }
  }

  async close(): Promise<void> {
    if (this.#log !== null) await (await this.#log).close()
  }
}
