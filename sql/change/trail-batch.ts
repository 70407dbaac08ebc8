// Appends records to many trails at once, and events to the outbox, in a transaction of whoever calls. Trails are held in the order of their ids, by every
// batch alike, so that two batches wait for each other in one direction only. A change of the API holds one trail at a time.

import type { AuditRecord } from '../../domain/audit/audit-record.ts'
import { CHAIN_START, type ChainHead, type SealedRecord, sealRecord } from '../../domain/audit/chain.ts'
import { canonicalJson } from '../../domain/json.ts'
import type { PublishedEvent } from '../../domain/published-event.ts'
import type { Run } from '../connect.ts'
import { numberArrayLiteral, textArrayLiteral } from '../encoding/array-literal.ts'

/** Begins trails that are new, and holds all of them until the transaction ends. */
export async function holdTrails(run: Run, trails: readonly string[]): Promise<ReadonlyMap<string, ChainHead>> {
  const customers = [...new Set(trails)]
  if (customers.length === 0) return new Map()
  const values = [textArrayLiteral(customers)]
  await run({
    text: `insert into audit_chain (customer_id, sequence, hash)
           select customer_id, $2::bigint, $3 from unnest($1::text[]) as row (customer_id)
            order by customer_id collate "C"
           on conflict (customer_id) do nothing`,
    values: [...values, CHAIN_START.sequence, CHAIN_START.hash]
  })
  const rows = await run<{ customer_id: string; sequence: string; hash: string }>({
    text: `select customer_id, sequence, hash from audit_chain
            where customer_id = any($1::text[]) order by customer_id for update`,
    values
  })
  return new Map(rows.map(({ customer_id, sequence, hash }) => [customer_id, { sequence: Number(sequence), hash }]))
}

/** Records of trails that are held, those of one trail in the order given. */
export async function appendToTrails(
  run: Run,
  heads: ReadonlyMap<string, ChainHead>,
  records: readonly AuditRecord[]
): Promise<void> {
  if (records.length === 0) return
  const ends = new Map<string, ChainHead>()
  const rows = records.map((record) => {
    const customerId = trailOf(record)
    const previous = ends.get(customerId) ?? heads.get(customerId)
    if (previous === undefined) throw new Error(`the trail of ${customerId} is not held`)
    const sealed = sealRecord(record, previous)
    ends.set(customerId, sealed)
    return { record, sealed }
  })
  await run({ name: 'append-audit-records', text: APPEND, values: columnsOf(rows) })
  const trails = [...ends]
  await run({
    text: `update audit_chain as chain set sequence = row.sequence, hash = row.hash
             from unnest($1::text[], $2::bigint[], $3::text[]) as row (customer_id, sequence, hash)
            where chain.customer_id = row.customer_id`,
    values: [
      textArrayLiteral(trails.map(([customerId]) => customerId)),
      numberArrayLiteral(trails.map(([, { sequence }]) => sequence)),
      textArrayLiteral(trails.map(([, { hash }]) => hash))
    ]
  })
}

const APPEND = `
  insert into audit_event
    (customer_id, sequence, id, hash, action, actor_id, entity_kind, entity_id, occurred_at, content, personal)
  select customer_id, sequence, id, hash, action, actor_id, entity_kind, entity_id,
         to_timestamp(at::double precision / 1000), content::jsonb, personal::jsonb
    from unnest($1::text[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[],
                $9::bigint[], $10::text[], $11::text[])
      as row (customer_id, sequence, id, hash, action, actor_id, entity_kind, entity_id, at, content, personal)`

function columnsOf(rows: readonly { readonly record: AuditRecord; readonly sealed: SealedRecord }[]): string[] {
  return [
    textArrayLiteral(rows.map(({ record }) => trailOf(record))),
    numberArrayLiteral(rows.map(({ sealed }) => sealed.sequence)),
    textArrayLiteral(rows.map(({ record }) => record.id)),
    textArrayLiteral(rows.map(({ sealed }) => sealed.hash)),
    textArrayLiteral(rows.map(({ record }) => record.action)),
    textArrayLiteral(rows.map(({ record }) => record.actor.id)),
    textArrayLiteral(rows.map(({ record }) => record.entity.kind)),
    textArrayLiteral(rows.map(({ record }) => record.entity.id)),
    numberArrayLiteral(rows.map(({ record }) => record.at)),
    textArrayLiteral(rows.map(({ sealed }) => canonicalJson(sealed.content))),
    textArrayLiteral(rows.map(({ sealed }) => JSON.stringify(sealed.personal)))
  ]
}

/** In the order given. The trails of their customers are held, so that events of one customer get their positions in the order of commits. */
export async function appendEvents(run: Run, events: readonly PublishedEvent[]): Promise<void> {
  const rows = events.map(({ id, customerId, type, at, data }, place) => ({
    place,
    id,
    customer_id: customerId,
    type,
    at_ms: at,
    data
  }))
  // The platform's role writes events and reads none: no `returning`.
  if (rows.length > 0) await run({ text: INSERT_EVENTS, values: [JSON.stringify(rows)] })
}

const INSERT_EVENTS = `
  insert into outbox (id, customer_id, type, occurred_at, data)
  select id, customer_id, type, to_timestamp(at_ms / 1000), data
    from json_to_recordset($1::json)
      as row (place integer, id text, customer_id text, type text, at_ms double precision, data jsonb)
   order by place`

/** An empty id is the platform's own trail. */
export function trailOf({ customerId }: Pick<AuditRecord, 'customerId'>): string {
  return customerId ?? ''
}
