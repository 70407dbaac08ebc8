/** How much is fetched at a time, how much of it waits, how soon a lost member is noticed. */
import type { InboxBounds } from './partition-inbox.ts'

export interface FetchTuning extends InboxBounds {
  /** How long a broker holds an empty answer back: the pace of an idle consumer, and how late a full inbox is fetched for again. */
  readonly fetchWaitMs: number
  /** After a fetch of fewer records than these in a partition, the next one waits so long: the delay of an event at low load. */
  readonly lingerBelowRecords: number
  readonly lingerMs: number
  /** Bytes of one partition in one fetch: the size of a batch under load. */
  readonly partitionBytesMax: number
  readonly fetchBytesMax: number
  readonly partitionsConcurrentMax: number
  /** A member that is silent for so long loses its partitions. */
  readonly sessionTimeoutMs: number
  /** How soon added partitions and moved leaders are noticed when no request fails over them. */
  readonly metadataAgeMaxMs: number
}

export const FETCH_TUNING: FetchTuning = {
  batchRecordsMax: 5_000,
  inboxRecordsMax: 20_000,
  inboxBytesMax: 16 * 1024 * 1024,
  fetchWaitMs: 250,
  lingerBelowRecords: 100,
  lingerMs: 20,
  partitionBytesMax: 1024 * 1024,
  fetchBytesMax: 10 * 1024 * 1024,
  partitionsConcurrentMax: 8,
  sessionTimeoutMs: 10_000,
  metadataAgeMaxMs: 30_000
}
