/**
 * What the ingest loops tell about themselves: diagnostics channels that cost nothing while nobody listens. main.ts turns
 * them into metrics and log lines.
 */
import { channel } from 'node:diagnostics_channel'
import type { UncountedReason } from '../domain/tokens/usage-event.ts'

export interface BatchCounted {
  readonly partition: number
  readonly records: number
  readonly counted: number
  readonly uncounted: readonly UncountedReason[]
  /** The broker's time of arrival of the last record, ms. */
  readonly arrivedAt: number
}

export interface LedgerFlushed {
  readonly partition: number
  readonly cursor: number
  readonly rows: number
}

export interface Fenced {
  readonly partition: number
  readonly store: 'redis' | 'postgres'
}

export interface Repaired {
  readonly shard: number
  readonly mode: 'roll-forward' | 'build'
  readonly generation: number
}

/** A flush failed because Postgres is away; `waiting` records wait in memory. */
export interface LedgerAway {
  readonly partition: number
  readonly waiting: number
  readonly error: Error
}

const batchCounted = channel('tokenmeter:batch-counted')
const ledgerFlushed = channel('tokenmeter:ledger-flushed')
const ledgerAway = channel('tokenmeter:ledger-away')
const fenced = channel('tokenmeter:fenced')
const repaired = channel('tokenmeter:repaired')

export const tell = {
  batchCounted(message: BatchCounted): void {
    if (batchCounted.hasSubscribers) batchCounted.publish(message)
  },
  ledgerFlushed(message: LedgerFlushed): void {
    if (ledgerFlushed.hasSubscribers) ledgerFlushed.publish(message)
  },
  ledgerAway(message: LedgerAway): void {
    if (ledgerAway.hasSubscribers) ledgerAway.publish(message)
  },
  fenced(message: Fenced): void {
    if (fenced.hasSubscribers) fenced.publish(message)
  },
  repaired(message: Repaired): void {
    if (repaired.hasSubscribers) repaired.publish(message)
  }
}
