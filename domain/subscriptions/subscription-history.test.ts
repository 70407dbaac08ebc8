// Whatever is asked of a subscription, and however time passes, what its rules say to write is kept here as the store keeps it, and
// held against what must be true of the rows. Which events a step must tell is read off its two ends, not asked of the rules.

import fc from 'fast-check'
import t from 'tap'
import { customerOf, planOf } from '../../test/plans-and-customers.ts'
import { QUARTER_HOUR_MS } from '../tokens/quarter-hour.ts'
import type { PlanVersion } from './plan.ts'
import { changePlan } from './plan-change.ts'
import { isLive, type Subscription, type SubscriptionChange, type SubscriptionPeriod } from './subscription.ts'
import {
  becomePastDue,
  cancel,
  createSubscription,
  keep,
  type Outcome,
  pause,
  recover,
  resume,
  type Transition
} from './subscription-life-cycle.ts'
import { activate, isRenewalDue, renew } from './subscription-renewal.ts'

const seed = Number(process.env.SEED ?? Date.now() % 2 ** 31)
t.comment(`SEED=${seed}`)

const NOW = Date.parse('2026-01-31T14:20:00Z')
const DAY_MS = 86_400_000
const CUSTOMER = customerOf()
const PLANS: Readonly<Record<string, PlanVersion>> = {
  basic: planOf({ id: 'basic', baseFeeMinor: 1_000n }),
  pro: planOf({ id: 'pro', baseFeeMinor: 3_000n }),
  yearly: planOf({ id: 'yearly', interval: 'year', baseFeeMinor: 30_000n }),
  trial: planOf({ id: 'trial', trialDays: 14 })
}

function plan(id: string): PlanVersion {
  const found = PLANS[id]
  if (found === undefined) throw new Error(`no plan ${id}`)
  return found
}

function scheduledPlanOf({ scheduledChange }: Subscription): PlanVersion | null {
  const planId = scheduledChange?.planId ?? null
  return planId === null ? null : plan(planId)
}

function written(outcome: Outcome): Transition {
  if ('refused' in outcome) throw new Error(`refused: ${outcome.refused}`)
  return outcome
}

const ZONES = [
  'Europe/Paris',
  'Africa/Abidjan',
  'America/St_Johns',
  'Asia/Kathmandu',
  'Pacific/Kiritimati',
  'Pacific/Pago_Pago'
]
const ACTS = ['activate', 'change', 'pause', 'resume', 'owe', 'recover', 'cancel', 'keep', 'renew', 'move'] as const

const anyStep = fc.record({
  act: fc.constantFrom(...ACTS),
  planId: fc.constantFrom(...Object.keys(PLANS)),
  when: fc.constantFrom('now', 'period-end', null),
  zone: fc.constantFrom(...ZONES),
  /** Clocks of two processes differ: time goes back a little now and then. */
  passesMs: fc.oneof(
    fc.integer({ min: -2_000, max: 20 * 60_000 }),
    fc.integer({ min: 0, max: 20 * DAY_MS }),
    fc.integer({ min: 0, max: 100 * DAY_MS })
  ),
  /** Whether whoever renews was there before. */
  inTime: fc.boolean()
})
type Step = Parameters<Parameters<typeof anyStep.map>[0]>[0]

/** The rows as the store keeps them. */
class Kept {
  subscription: Subscription
  periods: (SubscriptionPeriod & { isOpen: boolean })[] = []
  changes: SubscriptionChange[] = []

  constructor(first: Transition) {
    this.subscription = first.next
    this.write(first)
  }

  write({ next, closed, opened, change }: Transition): void {
    this.subscription = next
    const open = this.periods.find(({ isOpen }) => isOpen)
    if (closed !== null) {
      if (open === undefined || open.start !== closed.start) throw new Error('what is closed is not open')
      this.periods = this.periods.map((row) => (row === open ? { ...row, ...closed, isOpen: false } : row))
    }
    if (opened !== null) {
      const others = this.periods.filter(({ start }) => start !== opened.start)
      this.periods = [...others, { ...opened, isOpen: true }]
    }
    if (change !== null) this.changes.push(change)
  }
}

function faultOf({ subscription, periods, changes }: Kept, now: number): string | null {
  for (const [i, { start, end }] of periods.entries()) {
    if (end <= start || start % QUARTER_HOUR_MS !== 0 || end % QUARTER_HOUR_MS !== 0) return `period ${i} is wrong`
    if (i > 0 && periods[i - 1]?.end !== start) return `a gap or an overlap before period ${i}`
  }
  const open = periods.filter(({ isOpen }) => isOpen)
  if (open.length !== (isLive(subscription) ? 1 : 0)) return `${open.length} open periods`
  const last = periods.at(-1)
  const { start, end } = subscription.currentPeriod
  if (last?.start !== start || last.end !== end) return 'the last period is not the current one'
  if (open.some(({ timeZone }) => timeZone !== subscription.timeZone)) return 'the period is of another zone'
  for (const [i, { at, fromPlanId }] of changes.entries()) {
    if (at % QUARTER_HOUR_MS !== 0 || at > Math.max(now, subscription.updatedAt)) return `change ${i} is wrong`
    const before = changes[i - 1]
    if (before !== undefined && (before.at > at || before.toPlanId !== fromPlanId)) return `change ${i} does not follow`
  }
  const stands = changes.at(-1)
  if (stands?.toPlanId !== subscription.planId || stands.toStatus !== subscription.status)
    return 'the changes lead elsewhere'
  if ((subscription.pausedAt !== null) !== (subscription.status === 'paused')) return 'paused since when?'
  const { scheduledChange } = subscription
  if (scheduledChange !== null && scheduledChange.at !== end) return 'a change is scheduled for within a period'
  return null
}

const LEGAL: Readonly<Record<Subscription['status'], readonly Subscription['status'][]>> = {
  trialing: ['trialing', 'active', 'canceled', 'ended'],
  active: ['active', 'past_due', 'paused', 'canceled', 'ended'],
  past_due: ['past_due', 'active', 'canceled', 'ended'],
  paused: ['paused', 'active', 'canceled', 'ended'],
  canceled: [],
  ended: []
}

function expectedEvents(before: Subscription, after: Subscription): string[] {
  const events: string[] = []
  if (!isLive(after)) return ['subscription.canceled']
  if (before.status === 'trialing' && after.status === 'active') events.push('subscription.activated')
  else if (before.currentPeriod.end !== after.currentPeriod.end) events.push('subscription.renewed')
  if (after.status === 'paused' && before.status !== 'paused') events.push('subscription.paused')
  if (before.status === 'paused' && after.status === 'active') events.push('subscription.resumed')
  if (before.planId !== after.planId || events.length === 0) events.push('subscription.changed')
  return events
}

function asked(kept: Kept, { act, planId, when }: Step, context: { now: number; timeZone: string }): Outcome | null {
  const { subscription } = kept
  const { now } = context
  const renewal = { ...context, scheduledPlan: scheduledPlanOf(subscription) }
  switch (act) {
    case 'activate':
      return activate(subscription, renewal)
    case 'change':
      return changePlan(subscription, {
        current: plan(subscription.planId),
        wanted: plan(planId),
        customer: CUSTOMER,
        when,
        now
      })
    case 'pause':
      return pause(subscription, now)
    case 'resume':
      return resume(subscription, now)
    case 'owe':
      return becomePastDue(subscription, now)
    case 'recover':
      return recover(subscription, now)
    case 'cancel':
      return cancel(subscription, { when: when ?? 'period-end', now })
    case 'keep':
      return keep(subscription, now)
    case 'renew':
      return renew(subscription, renewal)
    case 'move':
      return null
  }
}

/** Writes one answer of the rules and checks it. */
function step(kept: Kept, outcome: Outcome, now: number): void {
  if ('refused' in outcome) return
  const before = kept.subscription
  const { next, events } = outcome
  if (!LEGAL[before.status].includes(next.status)) throw new Error(`${before.status} became ${next.status}`)
  if (next.version !== before.version + 1) throw new Error(`version ${next.version}`)
  const expected = expectedEvents(before, next)
  if (String(events) !== String(expected)) throw new Error(`${events} are told, not ${expected}`)
  kept.write(outcome)
  const fault = faultOf(kept, now)
  if (fault !== null) throw new Error(fault)
}

function catchUp(kept: Kept, context: { now: number; timeZone: string }): void {
  while (isRenewalDue(kept.subscription, context.now)) {
    const scheduledPlan = scheduledPlanOf(kept.subscription)
    step(kept, written(renew(kept.subscription, { ...context, scheduledPlan })), context.now)
  }
  const { currentPeriod } = kept.subscription
  if (isLive(kept.subscription) && context.now >= currentPeriod.end) throw new Error('it is behind')
}

t.test(
  'any sequence of requests and delays leaves contiguous periods, legal states and the events of each step',
  async (t) => {
    const start = fc.record({
      planId: fc.constantFrom(...Object.keys(PLANS)),
      now: fc.integer({ min: NOW, max: NOW + 400 * DAY_MS })
    })
    const reached = new Map<string, number>()
    t.doesNotThrow(() =>
      fc.assert(
        fc.property(start, fc.array(anyStep, { minLength: 1, maxLength: 25 }), ({ planId, now: startsAt }, steps) => {
          let now = startsAt
          let timeZone = 'Europe/Paris'
          const kept = new Kept(written(createSubscription({ id: 's', customer: CUSTOMER, plan: plan(planId), now })))
          const fault = faultOf(kept, now)
          if (fault !== null) throw new Error(fault)
          for (const each of steps) {
            now += each.passesMs
            if (each.act === 'move') timeZone = each.zone
            if (each.inTime) catchUp(kept, { now, timeZone })
            const wasDue = isRenewalDue(kept.subscription, now)
            const outcome = asked(kept, each, { now, timeZone })
            if (outcome === null) continue
            if (wasDue && each.act !== 'renew' && !('refused' in outcome))
              throw new Error(`${each.act} before the renewal`)
            const result = `${each.act}: ${'refused' in outcome ? 'refused' : 'done'}`
            reached.set(result, (reached.get(result) ?? 0) + 1)
            step(kept, outcome, now)
          }
        }),
        { seed, numRuns: 400 }
      )
    )
    for (const act of ACTS.filter((name) => name !== 'move'))
      for (const result of ['done', 'refused']) t.ok((reached.get(`${act}: ${result}`) ?? 0) > 5, `${act}: ${result}`)
  }
)
