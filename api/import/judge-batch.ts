/** What a batch of rows comes to, with what others are told of it: one audit record for each entity made or changed, and its events. */
import { randomUUIDv7 } from 'node:crypto'
import {
  addCounts,
  type Candidate,
  type Duplicates,
  type ImportBatch,
  type ImportPart,
  type JudgedBatch,
  NO_COUNTS,
  type Refusal,
  type Standings,
  type Written
} from '../../domain/customers/import/customer-import.ts'
import { type Fresh, type Judged, judgeCustomer, judgeUser, refused } from '../../domain/customers/import/judge-rows.ts'
import { judgeSubscription } from '../../domain/customers/import/judge-subscription.ts'
import type { JsonObject } from '../../domain/json.ts'
import type { PublishedEventType } from '../../domain/published-event.ts'
import { subscriptionToJson } from '../../domain/subscriptions/subscription-json.ts'
import type { Transition } from '../../domain/subscriptions/subscription-life-cycle.ts'
import { tellCustomer } from '../schemas/customers.ts'
import { tellUser } from '../schemas/users.ts'

const ACTOR = { kind: 'service', id: 'tokenmeter-migrate', address: null, requestId: null } as const

/** Of a batch: the refusals are of rows that were no candidates. */
export interface JudgedRows<Part extends ImportPart> {
  readonly batch: ImportBatch<Part>
  readonly refusals: readonly Refusal[]
  readonly now: number
  readonly withEvents: boolean
}

export type Judge<Part extends ImportPart> = (
  rows: JudgedRows<Part>,
  standing: Standings[Part],
  duplicates: Duplicates
) => JudgedBatch

export const JUDGE_BATCH: { readonly [Part in ImportPart]: Judge<Part> } = {
  customers: (rows, { customers }, duplicates) => {
    const { written, ...judged } = judgeAll(rows, duplicates, {
      judge: (candidate, fresh) => judgeCustomer(candidate, customers.get(candidate.externalId) ?? null, fresh),
      tell: ({ before, next }: Written<Parameters<typeof tellCustomer>[0]>) => ({
        kind: 'customer',
        id: next.id,
        customerId: next.id,
        before: before === null ? null : tellCustomer(before),
        after: tellCustomer(next)
      })
    })
    return { ...NOTHING, ...judged, customers: written }
  },
  users: (rows, { customers, users, owners }, duplicates) => {
    const { written, ...judged } = judgeAll(rows, duplicates, {
      judge: (candidate, fresh) => {
        const customer = customers.get(candidate.externalId) ?? null
        const before = users.get(candidate.key) ?? null
        return judgeUser(candidate, { customer, before, owners: ownersOf(owners, customer?.id ?? '') }, fresh)
      },
      tell: ({ before, next }: Written<Parameters<typeof tellUser>[0]>) => ({
        kind: 'user',
        id: next.id,
        customerId: next.customerId,
        before: before === null ? null : tellUser(before),
        after: tellUser(next)
      })
    })
    return { ...NOTHING, ...judged, users: written }
  },
  subscriptions: (rows, { customers, plans, subscriptions }, duplicates) => {
    const { written, ...judged } = judgeAll(rows, duplicates, {
      judge: (candidate, fresh) => {
        const customer = customers.get(candidate.externalId) ?? null
        const standing = subscriptions.get(customer?.id ?? '') ?? []
        return judgeSubscription(candidate, { customer, plans, standing }, fresh)
      },
      tell: ({ next }: Transition) => ({
        kind: 'subscription',
        id: next.id,
        customerId: next.customerId,
        before: null,
        after: subscriptionToJson(next)
      })
    })
    return { ...NOTHING, ...judged, subscriptions: written }
  }
}

const NOTHING = { customers: [], users: [], subscriptions: [] } as const

function ownersOf(owners: Map<string, Set<string>>, customerId: string): Set<string> {
  const found = owners.get(customerId) ?? new Set<string>()
  owners.set(customerId, found)
  return found
}

interface Told {
  readonly kind: string
  readonly id: string
  readonly customerId: string
  readonly before: JsonObject | null
  readonly after: JsonObject
}

interface Judging<T> {
  readonly judge: (candidate: Candidate, fresh: Fresh) => Judged<T>
  readonly tell: (written: T) => Told
}

function judgeAll<T>(
  { batch, refusals, now, withEvents }: JudgedRows<ImportPart>,
  duplicates: Duplicates,
  { judge, tell }: Judging<T>
): Omit<JudgedBatch, keyof typeof NOTHING> & { readonly written: readonly T[] } {
  let counts = { ...NO_COUNTS, refused: refusals.length }
  const written: T[] = []
  const audit: JudgedBatch['audit'][number][] = []
  const events: JudgedBatch['events'][number][] = []
  const allRefusals = [...refusals]
  for (const candidate of batch.candidates) {
    const { source, externalId } = candidate
    const earlier = duplicates.get(source.row)
    const judged =
      earlier === undefined
        ? judge(candidate, { id: randomUUIDv7(), now })
        : refused(keyField(batch.part), `is on line ${earlier} already`)
    counts = addCounts(counts, { ...NO_COUNTS, [judged.outcome]: 1 })
    if (judged.outcome === 'refused') allRefusals.push({ part: batch.part, source, externalId, faults: judged.faults })
    if (!('written' in judged)) continue
    written.push(judged.written)
    const told = tell(judged.written)
    audit.push(auditRecord(told, judged.events[0], now))
    if (withEvents) events.push(...judged.events.map((type) => eventOf(told, type, now)))
  }
  return { written, audit, events, counts, refusals: allRefusals.toSorted((a, b) => a.source.row - b.source.row) }
}

function keyField(part: ImportPart): string {
  if (part === 'users') return 'email'
  return part === 'customers' ? 'externalId' : 'customerExternalId'
}

function auditRecord({ kind, id, customerId, before, after }: Told, action: PublishedEventType, at: number) {
  return { id: randomUUIDv7(), customerId, actor: ACTOR, action, entity: { kind, id }, before, after, at }
}

function eventOf({ customerId, after }: Told, type: PublishedEventType, at: number) {
  return { id: randomUUIDv7(), type, customerId, at, data: after }
}
