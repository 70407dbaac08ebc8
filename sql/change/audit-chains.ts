// The trails as they stand in the tables, page by page, for whoever verifies them. Nothing is checked here but that it can be read.

import type { AuditChains } from '../../domain/audit/audit-store.ts'
import type { ChainStand, StoredRecord } from '../../domain/audit/verify-chain.ts'
import type { JsonObject } from '../../domain/json.ts'
import type { Database } from '../connect.ts'
import { toPersonal } from './audit-row.ts'

const CUSTOMERS_A_PAGE = 1_000
/** A record may have half a megabyte, most have one kilobyte. */
const RECORDS_A_PAGE = 250

interface RecordRow {
  readonly customer_id: string
  readonly sequence: string
  readonly id: string
  readonly hash: string
  readonly action: string
  readonly actor_id: string
  readonly entity_kind: string
  readonly entity_id: string
  readonly at: string
  readonly content: JsonObject
  readonly personal: unknown
}

export class PostgresAuditChains implements AuditChains {
  readonly #database: Database

  constructor(database: Database) {
    this.#database = database
  }

  async *customers(): AsyncIterable<string> {
    for (let after: string | null = null; ; ) {
      const rows: readonly { customer_id: string }[] = await this.#database.query('list the audit trails', {
        text: CUSTOMERS,
        values: [after, CUSTOMERS_A_PAGE]
      })
      for (const { customer_id } of rows) yield customer_id
      const last = rows.length < CUSTOMERS_A_PAGE ? undefined : rows.at(-1)
      if (last === undefined) return
      after = last.customer_id
    }
  }

  async stand(customerId: string): Promise<ChainStand> {
    const [row] = await this.#database.query<{ sequence: string | null; hash: string | null; last: string | null }>(
      `read the end of the audit trail of ${customerId}`,
      {
        text: `select sequence, hash, last
                 from (select max(sequence) as last from audit_event where customer_id = $1) as ends
                 left join audit_chain on customer_id = $1`,
        values: [customerId]
      }
    )
    const { sequence = null, hash = null, last = null } = row ?? {}
    return {
      head: sequence === null || hash === null ? null : { sequence: Number(sequence), hash },
      lastSequence: last === null ? null : Number(last)
    }
  }

  /** Records are never changed, so that pages of different moments fit together. */
  async *records(customerId: string, throughSequence: number): AsyncIterable<StoredRecord> {
    for (let after = 0; after < throughSequence; ) {
      const rows: readonly RecordRow[] = await this.#database.query(
        `read the audit trail of ${customerId} after ${after}`,
        { name: 'read-audit-records', text: RECORDS, values: [customerId, after, throughSequence, RECORDS_A_PAGE] }
      )
      for (const row of rows) yield toStoredRecord(row)
      const last = rows.length < RECORDS_A_PAGE ? undefined : rows.at(-1)
      if (last === undefined) return
      after = Number(last.sequence)
    }
  }
}

/** Records without a head are trails too: somebody removed the head. */
const CUSTOMERS = `
  select customer_id
    from (
      (select customer_id from audit_chain where $1::text is null or customer_id > $1 order by customer_id limit $2)
      union
      (select distinct customer_id from audit_event where $1::text is null or customer_id > $1 order by customer_id limit $2)
    ) as trails
   order by customer_id
   limit $2`

/** A time that was changed by less than a millisecond is changed too. */
const RECORDS = `
  select customer_id, sequence, id, hash, action, actor_id, entity_kind, entity_id, content, personal,
         trim_scale(extract(epoch from occurred_at) * 1000)::text as at
    from audit_event
   where customer_id = $1 and sequence > $2 and sequence <= $3
   order by sequence
   limit $4`

function toStoredRecord(row: RecordRow): StoredRecord {
  const { content, hash } = row
  return {
    sequence: Number(row.sequence),
    hash,
    content,
    personal: toPersonal(row.personal),
    columns: {
      customerId: row.customer_id,
      id: row.id,
      action: row.action,
      actorId: row.actor_id,
      entityKind: row.entity_kind,
      entityId: row.entity_id,
      at: Number(row.at)
    }
  }
}
