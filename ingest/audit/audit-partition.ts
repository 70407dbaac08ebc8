/**
 * The audit consumer of one partition: what other services tell becomes records of the trail. Each batch is one transaction that
 * appends its records and moves the cursor, so the loop may die or be overtaken between any two awaited lines:
 *   before the dead letters are written   nothing happened
 *   after, before the append              the next one writes the same letters again: at least once
 *   after the append                      the cursor is past the batch
 *   overtaken                             nothing was appended: it begins again at the cursor
 * It keeps nothing in memory. While a store is away it throws a `RetryableError` and is started again after a while.
 */
import type { Appended, AuditPosition, AuditTrail, ReceivedRecord } from '../../domain/audit/audit-store.ts'
import type { DeadLetter, DeadLetters, PartitionSource, RecordBatch } from '../../domain/ports.ts'
import type { UncountedReason, UsageRecord } from '../../domain/tokens/usage-event.ts'
import type { DecodedAudit } from './decode-audit-event.ts'

export interface AuditPartitionOptions {
  readonly partition: number
  readonly source: PartitionSource
  readonly trail: AuditTrail
  readonly deadLetters: DeadLetters
  readonly decode: (record: UsageRecord) => DecodedAudit
  readonly report?: (report: AuditReport) => void
}

export type AuditReport =
  | { readonly kind: 'appended'; readonly appended: number; readonly duplicates: number }
  /** Each is a dead letter. */
  | { readonly kind: 'left-out'; readonly reasons: readonly UncountedReason[] }
  /** Another consumer moved the cursor: this one begins again. */
  | { readonly kind: 'overtaken' }

/** Runs until the source says stop. */
export async function runAuditPartition(options: AuditPartitionOptions): Promise<void> {
  const { partition, source, trail, report } = options
  for (;;) {
    let position = await trail.open(partition)
    await source.open(position.cursor, position.previousArrivedAt)
    for (let isOvertaken = false; !isOvertaken; ) {
      const work = await source.next()
      if (work.kind === 'stop') return
      if (work.kind === 'tick') continue
      const to = positionAfter(work.batch, position)
      const { outcome } = await append(options, position, { to, records: work.batch.records })
      isOvertaken = outcome === 'fenced'
      if (isOvertaken) report?.({ kind: 'overtaken' })
      else source.report(to.cursor)
      position = to
    }
  }
}

function positionAfter(batch: RecordBatch, before: AuditPosition): AuditPosition {
  return { cursor: batch.to, previousArrivedAt: batch.records.at(-1)?.arrivedAt ?? before.previousArrivedAt }
}

/** Dead letters go first: once the cursor has passed a record nobody reads it again. */
async function append(
  { partition, trail, deadLetters, decode, report }: AuditPartitionOptions,
  from: AuditPosition,
  { to, records }: { readonly to: AuditPosition; readonly records: readonly UsageRecord[] }
): Promise<Appended> {
  let good: ReceivedRecord[] = []
  const letters: DeadLetter[] = []
  for (const record of records) {
    const decoded = decode(record)
    if ('record' in decoded) good.push({ offset: record.offset, record: decoded.record })
    else {
      const { code: reason, field, message } = decoded.rejection
      letters.push({ partition, record, reason, field, message })
    }
  }
  for (;;) {
    if (letters.length > 0) {
      await deadLetters.append(letters)
      report?.({ kind: 'left-out', reasons: letters.splice(0).map(({ reason }) => reason) })
    }
    const result = await trail.append({ partition, from, to, records: good })
    if (result.outcome === 'appended') {
      const { appended, duplicates } = result
      report?.({ kind: 'appended', appended, duplicates })
    }
    if (result.outcome !== 'conflicts') return result
    const { offsets } = result
    letters.push(...records.filter(({ offset }) => offsets.has(offset)).map((record) => conflict(partition, record)))
    good = good.filter(({ offset }) => !offsets.has(offset))
  }
}

function conflict(partition: number, record: UsageRecord): DeadLetter {
  const message = 'an event of this subject, source and id came before and said something else'
  return { partition, record, reason: 'conflict', field: 'id', message }
}
