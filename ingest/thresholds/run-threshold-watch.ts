/** The watch beside the meter consumer: hears of usage from the ledger's port, and looks every few seconds. */
import { setTimeout as delay } from 'node:timers/promises'
import { RetryableError } from '../../domain/errors.ts'
import type { UsageLedger } from '../../domain/ports.ts'
import type { Logger } from '../kafkajs/kafka-client.ts'
import type { ThresholdWatch } from './threshold-watch.ts'

/** How late a threshold is told, beside the flush before it. */
const INTERVAL_MS = 2_000

export interface RunningWatch {
  /** Ends after the round in hand. */
  stop(): Promise<void>
}

/** The ledger itself, which also tells the watch what it got. Nothing waits for the watch. */
export function watchedLedger(ledger: UsageLedger, watch: ThresholdWatch): UsageLedger {
  return {
    open: async (partition) => {
      const position = await ledger.open(partition)
      watch.touchEverybody()
      return position
    },
    flush: async (flush) => {
      const outcome = await ledger.flush(flush)
      if (outcome === 'moved') watch.touch(flush.rows)
      return outcome
    },
    readForCuts: (ask) => ledger.readForCuts(ask)
  }
}

export function runThresholdWatch(watch: ThresholdWatch, logger: Logger): RunningWatch {
  const stopping = new AbortController()
  const done = rounds(watch, logger, stopping.signal)
  return {
    stop: async () => {
      stopping.abort()
      await done
    }
  }
}

async function rounds(watch: ThresholdWatch, logger: Logger, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    try {
      await delay(INTERVAL_MS, undefined, { signal })
      await watch.round()
    } catch (error) {
      if (signal.aborted) return
      // A defect here must not end the counting of usage: it is told each time until it is mended.
      const level = error instanceof RetryableError ? 'warn' : 'error'
      logger[level]({ err: error }, 'thresholds of limits wait to be told')
    }
  }
}
