import { setTimeout as delay } from 'node:timers/promises'

export interface WaitOptions {
  /** What is waited for, as it reads in "waited 30 s for <what>". */
  what: string
  timeoutMs: number
  pollIntervalMs?: number
}

/**
 * Resolves with the first answer of `attempt` that is neither undefined nor false. An attempt that throws counts as
 * "not yet"; its error is the cause of the time-out, so that the reason of a failed start is never lost.
 */
export async function waitUntil<Answer>(
  attempt: () => Promise<Answer | undefined | false>,
  { what, timeoutMs, pollIntervalMs = 50 }: WaitOptions
): Promise<Answer> {
  const deadline = performance.now() + timeoutMs
  let lastError: unknown
  do {
    try {
      const answer = await attempt()
      if (answer !== undefined && answer !== false) return answer
    } catch (error) {
      if (error instanceof HopelessError) throw error
      lastError = error
    }
    await delay(pollIntervalMs)
  } while (performance.now() < deadline)
  throw new Error(`waited ${timeoutMs / 1000} s for ${what}, in vain`, { cause: lastError })
}

/** Thrown by an attempt to say that waiting longer cannot help. */
export class HopelessError extends Error {}
