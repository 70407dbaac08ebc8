/** How far a run by hand has come: a bar on a terminal, lines elsewhere. On stderr, so that stdout holds the result alone. */
import { SingleBar } from 'cli-progress'
import type { RoundOutcome } from '../../domain/billing/invoices/billing-store.ts'

/** Without a terminal progress is a line each so many boundaries. */
const BOUNDARIES_A_LINE = 1_000

export interface Progress {
  readonly show: (soFar: RoundOutcome) => void
  readonly stop: () => void
}

/** `expected`: boundaries that are due, about. */
export function showProgress(expected: number): Progress {
  if (!process.stderr.isTTY) return progressLines(expected)
  const format = 'billing [{bar}] {percentage} % | {value} of {total} | {eta_formatted} left'
  const bar = new SingleBar({ format, stream: process.stderr, hideCursor: true })
  bar.start(expected, 0)
  return {
    show: (soFar) => {
      // More may have become due since, such as the settlement of a subscription that ended.
      bar.setTotal(Math.max(expected, sumOf(soFar)))
      bar.update(sumOf(soFar))
    },
    stop: () => bar.stop()
  }
}

function progressLines(expected: number): Progress {
  let lines = 0
  return {
    show: (soFar) => {
      const reached = Math.floor(sumOf(soFar) / BOUNDARIES_A_LINE)
      if (reached !== lines) process.stderr.write(`${sumOf(soFar)} of about ${expected}\n`)
      lines = reached
    },
    stop: () => undefined
  }
}

function sumOf({ invoiced, empty, parked }: RoundOutcome): number {
  return invoiced + empty + parked
}
