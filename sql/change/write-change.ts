// A change and what goes with it, in one transaction: first the claim of its Idempotency-Key, then the change, then its audit
// records and events. Whoever dies before COMMIT leaves nothing; a repeat of the request finds the answer or does it anew.

import { type DatabaseTransactionConnection, sql } from 'slonik'
import { Type } from 'typebox'
import type { AuditRecord } from '../../domain/audit/audit-record.ts'
import { CHAIN_START, type ChainHead, sealRecord } from '../../domain/audit/chain.ts'
import { type Change, type IdempotentRequest, RepeatedRequest } from '../../domain/change.ts'
import { canonicalJson } from '../../domain/json.ts'
import type { PublishedEvent } from '../../domain/published-event.ts'
import { instant } from '../encoding/instant.ts'
import { rowParser } from '../encoding/row-parser.ts'
import { findAnswer } from './idempotency-record.ts'

const NO_ROWS = rowParser('changes', Type.Never())
const CLAIMED = rowParser('idempotency_record', Type.Object({ key: Type.String() }))
const HEAD = rowParser('audit_chain', Type.Object({ sequence: Type.BigInt(), hash: Type.String() }))

export async function writeChange<T>(
  transaction: DatabaseTransactionConnection,
  change: Change,
  work: (transaction: DatabaseTransactionConnection) => Promise<T>
): Promise<T> {
  if (change.request !== null) await claim(transaction, change.request)
  const result = await work(transaction)
  await writeTold(transaction, change)
  return result
}

/** What is known only within the transaction, once rows are locked, is told by this; it comes before what the change itself tells. */
export async function writeTold(
  transaction: DatabaseTransactionConnection,
  { audit, events }: Pick<Change, 'audit' | 'events'>
): Promise<void> {
  // Records come first: they hold the customer's chain, so that events of one customer get their positions in the order of commits.
  for (const [customerId, records] of Map.groupBy(audit, (record) => record.customerId ?? '')) {
    await appendRecords(transaction, customerId, records)
  }
  for (const event of events) await appendEvent(transaction, event)
}

/** A second request with the key waits here for the first one's commit, and then finds its answer. */
async function claim(transaction: DatabaseTransactionConnection, request: IdempotentRequest): Promise<void> {
  const { caller, key, fingerprint, answer } = request
  const claimed = await transaction.maybeOne(sql.type(CLAIMED)`
    insert into idempotency_record (caller, key, fingerprint, status, headers, body)
    values (${caller}, ${key}, ${fingerprint}, ${answer.status}, ${JSON.stringify(answer.headers)}::jsonb, ${answer.body})
    on conflict (caller, key) do nothing
    returning key`)
  if (claimed === null) throw new RepeatedRequest(await findAnswer(transaction, request))
}

/** Appends to one trail, in order. Exported for what receives records from elsewhere. */
export async function appendRecords(
  transaction: DatabaseTransactionConnection,
  customerId: string,
  records: readonly AuditRecord[]
): Promise<void> {
  let head: ChainHead = await holdHead(transaction, customerId)
  for (const record of records) {
    const sealed = sealRecord(record, head)
    await transaction.query(sql.type(NO_ROWS)`
      insert into audit_event (customer_id, sequence, id, hash, action, actor_id, entity_kind, entity_id, occurred_at, content, personal)
      values (${customerId}, ${sealed.sequence}, ${record.id}, ${sealed.hash}, ${record.action}, ${record.actor.id},
              ${record.entity.kind}, ${record.entity.id}, ${instant(record.at)},
              ${canonicalJson(sealed.content)}::jsonb, ${JSON.stringify(sealed.personal)}::jsonb)`)
    head = sealed
  }
  await transaction.query(sql.type(NO_ROWS)`
    update audit_chain set sequence = ${head.sequence}, hash = ${head.hash} where customer_id = ${customerId}`)
}

/** Until the transaction ends: nobody else appends to the trail. */
export async function holdHead(transaction: DatabaseTransactionConnection, customerId: string): Promise<ChainHead> {
  await transaction.query(sql.type(NO_ROWS)`
    insert into audit_chain (customer_id, sequence, hash) values (${customerId}, ${CHAIN_START.sequence}, ${CHAIN_START.hash})
    on conflict (customer_id) do nothing`)
  const { sequence, hash } = await transaction.one(sql.type(HEAD)`
    select sequence, hash from audit_chain where customer_id = ${customerId} for update`)
  return { sequence: Number(sequence), hash }
}

async function appendEvent(transaction: DatabaseTransactionConnection, event: PublishedEvent): Promise<void> {
  await transaction.query(sql.type(NO_ROWS)`
    insert into outbox (id, customer_id, type, occurred_at, data)
    values (${event.id}, ${event.customerId}, ${event.type}, ${instant(event.at)}, ${JSON.stringify(event.data)}::jsonb)`)
}
