/** Turns what the loops tell on their channels into metrics, log lines and which users were seen. */
import { subscribe } from 'node:diagnostics_channel'
import type { SeenUsers } from '../domain/customers/user-activity.ts'
import { countTokens, countUncounted, type IngestMetrics } from '../monitoring/metrics.ts'
import { CHANNELS, type Messages } from './channels.ts'
import type { Logger } from './kafkajs/kafka-client.ts'

export function observeIngest(metrics: IngestMetrics, logger: Logger, seenUsers: SeenUsers): void {
  on('batchCounted', ({ partition, records, counted, uncounted, arrivedAt }) => {
    metrics.batchRecords.observe(records)
    metrics.counted.inc(counted)
    countUncounted(metrics, uncounted)
    if (arrivedAt > 0)
      metrics.freshnessSeconds.set({ partition: String(partition) }, Math.max(0, Date.now() - arrivedAt) / 1_000)
  })
  on('ledgerFlushed', ({ partition, cursor, rows, tokens }) => {
    countTokens(metrics, tokens)
    metrics.paused.set({ partition: String(partition) }, 0)
    const at = Date.now()
    for (const { customerId, userId } of rows) if (userId !== '') seenUsers.saw({ customerId, userId, at })
    logger.debug({ partition, cursor, rows: rows.length }, 'ledger flushed')
  })
  on('ledgerAway', ({ partition, waiting, error }) => {
    metrics.paused.set({ partition: String(partition) }, 1)
    logger.warn({ partition, waiting, err: error }, 'the ledger is away: sums wait in memory, quotas go on')
  })
  on('fenced', ({ partition, store }) => {
    metrics.fenced.inc({ store })
    logger.warn({ partition, store }, 'fenced: another consumer or a repair moved on; begins again at L')
  })
  on('repaired', ({ shard, mode, generation }) => {
    metrics.repairs.inc({ mode })
    logger.warn({ shard, mode, generation }, 'a shard of the meter is usable again')
  })
}

function on<Name extends keyof Messages>(name: Name, hear: (message: Messages[Name]) => void): void {
  // What is published on a channel has its message's type: `tell` of channels.ts is the one who publishes.
  subscribe(CHANNELS[name], (message) => hear(message as Messages[Name]))
}
