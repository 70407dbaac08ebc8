/**
 * The demo's customers, made through the API as the platform's back office makes them: small enterprises and institutions with
 * users, two plans, a subscription each, and a grant. A few have no entry at all: their usage is counted all the same.
 */
import { waitUntil } from '../machine/wait-until.ts'
import { type DemoApi, send } from './demo-api.ts'

export interface DemoCustomer {
  readonly id: string
  /** Ids of its users; usage in the name of others is counted too. */
  readonly userIds: readonly string[]
  /** Start of its billing period, ms; null: nobody knows the customer. */
  readonly periodStart: number | null
  /** Of its plan. */
  readonly baseFeeMinor: number
}

export interface Enrolment {
  readonly customers: readonly DemoCustomer[]
  readonly plans: number
  readonly users: number
  readonly subscriptions: number
}

const REGISTERED = 35
const STRANGERS = 5
const INSTITUTION_EVERY = 4
const AT_ONCE = 5
const ROLES = ['owner', 'developer'] as const
/** The limit that both plans have, over the billing period. */
const PLAN_LIMIT = 'plan-tokens'

const CALENDAR = { country: 'FR', currency: 'EUR', timeZone: 'Europe/Paris', locale: 'fr' } as const
const PRICE = { chargeModel: 'per_unit', perTokens: 1_000_000, includedTokens: 100_000 } as const
const DAY_MS = 86_400_000
/** EUR for a million tokens, in both plans. */
export const AMOUNTS = { input: '2.50', cacheRead: '0.25', output: '10.00', reasoning: '10.00' } as const
export const INCLUDED_TOKENS = PRICE.includedTokens

interface DemoPlan {
  readonly id: string
  readonly onlyFor: string | null
  readonly baseFeeMinor: number
}

export async function enrolCustomers(api: DemoApi): Promise<Enrolment> {
  const forAll = await publishPlan(api, { code: 'demo-sme', title: 'PME', baseFeeMinor: '4900', max: 200_000_000 })
  const held = { code: 'demo-institution', title: 'Institution', baseFeeMinor: '49000', max: 2_000_000_000 }
  const forInstitutions = await publishPlan(api, held, 'institution')
  const customers: DemoCustomer[] = []
  for (let from = 0; from < REGISTERED; from += AT_ONCE) {
    const some = Array.from({ length: Math.min(AT_ONCE, REGISTERED - from) }, (_, i) => from + i)
    const enrolled = some.map((index) => {
      const isInstitution = index % INSTITUTION_EVERY === INSTITUTION_EVERY - 1
      return enrolCustomer(api, index, isInstitution ? forInstitutions : forAll)
    })
    customers.push(...(await Promise.all(enrolled)))
  }
  await send(api, `POST /v1/customers/${customers[0]?.id}/grants`, {
    tokens: 1_000_000,
    source: 'purchase'
  })
  const strangers = Array.from({ length: STRANGERS }, (_, i) => {
    return { id: `demo-stranger-${i + 1}`, userIds: [], periodStart: null, baseFeeMinor: 0 }
  })
  return {
    customers: [...customers, ...strangers],
    plans: 2,
    users: customers.reduce((sum, { userIds }) => sum + userIds.length, 0),
    subscriptions: customers.length
  }
}

async function publishPlan(
  api: DemoApi,
  plan: { readonly code: string; readonly title: string; readonly baseFeeMinor: string; readonly max: number },
  onlyFor: 'institution' | null = null
): Promise<DemoPlan> {
  const { max, ...named } = plan
  const limit = { scope: { kind: 'customer' }, measure: { kind: 'total' }, mode: 'hard', whenUnknown: 'deny' }
  const { id } = await send<{ id: string }>(api, 'POST /v1/plans', {
    ...named,
    onlyFor,
    currency: CALENDAR.currency,
    interval: 'month',
    prices: Object.entries(AMOUNTS).map(([pool, amount]) => {
      return { ...PRICE, pool, model: '*', tiers: [{ upTo: null, amount }] }
    }),
    limits: [{ ...limit, id: PLAN_LIMIT, window: { kind: 'plan-period' }, max }]
  })
  await send(api, `POST /v1/plans/${id}/publish`)
  return { id, onlyFor, baseFeeMinor: Number(plan.baseFeeMinor) }
}

async function enrolCustomer(api: DemoApi, index: number, plan: DemoPlan): Promise<DemoCustomer> {
  const number = String(index + 1).padStart(2, '0')
  const named = { ...CALENDAR, legalName: `Demo ${number} SA`, externalId: `demo-${number}` }
  const { id } = await send<{ id: string }>(
    api,
    'POST /v1/customers',
    plan.onlyFor === null
      ? { ...named, kind: 'sme', taxId: `FR${number}123456789` }
      : { ...named, kind: 'institution', registrationNumber: `B-${number}`, contractReference: `MSA-${number}` }
  )
  const userIds: string[] = []
  for (const role of ROLES) {
    const invited = { email: `${role}@demo-${number}.example`, role }
    const user = await send<{ id: string }>(api, `POST /v1/customers/${id}/users`, invited)
    await send(api, `POST /v1/customers/${id}/users/${user.id}/activate`)
    userIds.push(user.id)
  }
  const { currentPeriod } = await send<{ currentPeriod: { start: string } }>(api, 'POST /v1/subscriptions', {
    customerId: id,
    planId: plan.id,
    // Before the traffic, some of which is late by hours.
    startsAt: new Date(Date.now() - DAY_MS).toISOString()
  })
  return { id, userIds, periodStart: Date.parse(currentPeriod.start), baseFeeMinor: plan.baseFeeMinor }
}

/** A sentence for each customer whose plan's limit has not counted exactly what the demo sent of its billing period. */
export async function findPlanFaults(
  api: DemoApi,
  customers: readonly DemoCustomer[],
  /** Tokens that each has sent of its billing period. */
  byPeriod: ReadonlyMap<string, number>
): Promise<string[]> {
  const faults: string[] = []
  for (const { id, periodStart } of customers) {
    if (periodStart === null) continue
    const used = await waitUntil(() => usedOfPlan(api, id), { what: `the balance of ${id}`, timeoutMs: 20_000 })
    const expected = byPeriod.get(id) ?? 0
    if (used.tokens !== expected) faults.push(`the plan's limit of ${id} counted ${used.tokens} instead of ${expected}`)
  }
  return faults
}

interface Balance {
  readonly limits: readonly { readonly id: string; readonly used: number; readonly unknown: string | null }[]
}

async function usedOfPlan(api: DemoApi, customerId: string): Promise<{ readonly tokens: number } | undefined> {
  const { limits } = await send<Balance>(api, `GET /v1/customers/${customerId}/balance`)
  const limit = limits.find(({ id }) => id === PLAN_LIMIT)
  return limit === undefined || limit.unknown !== null ? undefined : { tokens: limit.used }
}
