/**
 * What the ingest loops tell about themselves: diagnostics channels that cost nothing while nobody listens. main.ts turns
 * them into metrics and log lines.
 */
import { channel } from 'node:diagnostics_channel'
import type { LedgerRow } from '../domain/ports.ts'
import type { UncountedReason } from '../domain/tokens/usage-event.ts'
import type { TokensByKind } from './ledger/pending-usage.ts'

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
  readonly rows: readonly LedgerRow[]
  readonly tokens: TokensByKind
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

export interface Messages {
  readonly batchCounted: BatchCounted
  readonly ledgerFlushed: LedgerFlushed
  readonly ledgerAway: LedgerAway
  readonly fenced: Fenced
  readonly repaired: Repaired
}

export const CHANNELS: Readonly<Record<keyof Messages, string>> = {
  batchCounted: 'tokenmeter:batch-counted',
  ledgerFlushed: 'tokenmeter:ledger-flushed',
  ledgerAway: 'tokenmeter:ledger-away',
  fenced: 'tokenmeter:fenced',
  repaired: 'tokenmeter:repaired'
}

export function tell<Name extends keyof Messages>(name: Name, message: Messages[Name]): void {
  const told = channel(CHANNELS[name])
  if (told.hasSubscribers) told.publish(message)
}
