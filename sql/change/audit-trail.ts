// Records that other services told, appended to the trails of their customers in batches: one transaction holds the partition's
// cursor, the trails and the records. What is appended by changes of our own stands in write-change.ts; both seal alike.
//
// An id belongs to one customer (its hash covers the customer), so that who holds the trail knows whether it is taken.

import type { AuditRecord } from '../../domain/audit/audit-record.ts'
import type { Appended, AuditBatch, AuditPosition, AuditTrail, ReceivedRecord } from '../../domain/audit/audit-store.ts'
import { contentOf, type SealedRecord } from '../../domain/audit/chain.ts'
import { isSameRecord } from '../../domain/audit/restore-record.ts'
import { canonicalJson, type JsonObject } from '../../domain/json.ts'
import type { Database, Run } from '../connect.ts'
import { textArrayLiteral } from '../encoding/array-literal.ts'
import { toPersonal } from './audit-row.ts'
import { appendToTrails, holdTrails, trailOf } from './trail-batch.ts'

interface PositionColumns {
  readonly next_offset: string
  readonly previous_arrived_at: string | null
}

export class PostgresAuditTrail implements AuditTrail {
  readonly #database: Database

  constructor(database: Database) {
    this.#database = database
  }

  async open(partition: number): Promise<AuditPosition> {
    const what = `read where the trail stands in partition ${partition}`
    await this.#database.query(what, {
      text: 'insert into audit_partition (partition) values ($1) on conflict do nothing',
      values: [partition]
    })
    const [row] = await this.#database.query<PositionColumns>(what, {
      text: 'select next_offset, previous_arrived_at from audit_partition where partition = $1',
      values: [partition]
    })
    if (row === undefined) throw new Error(`the row of partition ${partition} was deleted while it began`)
    const { next_offset: cursor, previous_arrived_at: arrivedAt } = row
    return { cursor: Number(cursor), previousArrivedAt: arrivedAt === null ? null : Number(arrivedAt) }
  }

  /** Nothing was written while an answer is not `appended`: the cursor moves last, and only then does the transaction say it did. */
  async append(batch: AuditBatch): Promise<Appended> {
    const { partition, from, to } = batch
    const what = `append ${batch.records.length} audit records of partition ${partition} in [${from.cursor}, ${to.cursor})`
    return this.#database.transaction(what, 'read committed', async (run): Promise<Appended> => {
      if (!(await holdCursor(run, partition, from.cursor))) return { outcome: 'fenced' }
      const heads = await holdTrails(
        run,
        batch.records.map(({ record }) => trailOf(record))
      )
      const judged = judge(batch.records, await findKept(run, batch.records))
      if (judged.conflicts.size > 0) return { outcome: 'conflicts', offsets: judged.conflicts }
      await appendToTrails(run, heads, judged.fresh)
      await moveCursor(run, partition, to)
      const appended = judged.fresh.length
      return { outcome: 'appended', appended, duplicates: batch.records.length - appended }
    })
  }
}

async function holdCursor(run: Run, partition: number, cursor: number): Promise<boolean> {
  const rows = await run({
    text: 'select next_offset from audit_partition where partition = $1 and next_offset = $2 for update',
    values: [partition, cursor]
  })
  return rows.length === 1
}

type Kept = Pick<SealedRecord, 'content' | 'personal'>

async function findKept(run: Run, records: readonly ReceivedRecord[]): Promise<Map<string, Kept>> {
  const rows = await run<{ id: string; content: JsonObject; personal: unknown }>({
    text: 'select id, content, personal from audit_event where id = any($1::text[])',
    values: [textArrayLiteral(records.map(({ record }) => record.id))]
  })
  return new Map(rows.map(({ id, content, personal }) => [id, { content, personal: toPersonal(personal) }]))
}

/** The first record of an id is the one that is kept, be it in the table or earlier in the batch. */
function judge(
  records: readonly ReceivedRecord[],
  kept: ReadonlyMap<string, Kept>
): { readonly fresh: readonly AuditRecord[]; readonly conflicts: ReadonlySet<number> } {
  const fresh = new Map<string, AuditRecord>()
  const conflicts = new Set<number>()
  for (const { offset, record } of records) {
    const earlier = fresh.get(record.id)
    const stored = earlier === undefined ? kept.get(record.id) : { content: contentOf(earlier), personal: {} }
    if (stored === undefined) fresh.set(record.id, record)
    else if (!isSame(record, earlier, stored)) conflicts.add(offset)
  }
  return { fresh: [...fresh.values()], conflicts }
}

function isSame(record: AuditRecord, earlier: AuditRecord | undefined, { content, personal }: Kept): boolean {
  if (earlier === undefined) return isSameRecord(record, content, personal)
  return canonicalJson(contentOf(record)) === canonicalJson(content)
}

async function moveCursor(run: Run, partition: number, { cursor, previousArrivedAt }: AuditPosition): Promise<void> {
  await run({
    text: 'update audit_partition set next_offset = $2, previous_arrived_at = $3 where partition = $1',
    values: [partition, cursor, previousArrivedAt]
  })
}
