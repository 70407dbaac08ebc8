import t from 'tap'
import { customerOf, planOf } from '../../test/plans-and-customers.ts'
import { QUARTER_HOUR_MS } from '../tokens/quarter-hour.ts'
import type { PlanVersion } from './plan.ts'
import { changePlan } from './plan-change.ts'
import type { Subscription } from './subscription.ts'
import {
  cancel,
  createSubscription,
  keep,
  type Outcome,
  pause,
  resume,
  type Transition
} from './subscription-life-cycle.ts'
import { activate, renew } from './subscription-renewal.ts'

const NOW = Date.parse('2026-01-31T14:20:00Z')
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

function created(planId = 'basic', now = NOW): Subscription {
  return written(createSubscription({ id: 's', customer: CUSTOMER, plan: plan(planId), now })).next
}

interface Wanted {
  readonly planId: string
  readonly when?: 'now' | 'period-end' | null
}

function changed(subscription: Subscription, { planId, when = null }: Wanted, now: number): Outcome {
  const [current, wanted] = [plan(subscription.planId), plan(planId)]
  return changePlan(subscription, { current, wanted, customer: CUSTOMER, when, now })
}

function renewed(subscription: Subscription, now: number): Subscription {
  const scheduledPlan = scheduledPlanOf(subscription)
  return written(renew(subscription, { now, timeZone: 'Europe/Paris', scheduledPlan })).next
}

function utc(instant: number): string {
  return new Date(instant).toISOString().slice(0, 16)
}

t.test('periods renewed late are those renewed in time', async (t) => {
  let late = created()
  let inTime = created()
  const lateStarts: string[] = []
  for (let i = 0; i < 5; i += 1) {
    inTime = renewed(inTime, inTime.currentPeriod.end)
    late = renewed(late, Date.parse('2026-07-10T00:00Z'))
    t.same(late.currentPeriod, inTime.currentPeriod)
    lateStarts.push(utc(late.currentPeriod.start))
  }
  t.same(lateStarts, [
    '2026-02-27T23:00',
    '2026-03-30T22:00',
    '2026-04-29T22:00',
    '2026-05-30T22:00',
    '2026-06-29T22:00'
  ])
  t.same(renew(late, { now: Date.parse('2026-07-10T00:00Z'), timeZone: 'UTC', scheduledPlan: null }), {
    refused: 'not-due'
  })
})

t.test('a trial is a period of whole days, and what is paid for begins where it ends', async (t) => {
  const trial = created('trial')
  t.match(trial, { status: 'trialing', anchor: '2026-02-14', trialEnd: Date.parse('2026-02-13T23:00Z') })
  t.same([utc(trial.currentPeriod.start), utc(trial.currentPeriod.end)], ['2026-01-30T23:00', '2026-02-13T23:00'])
  const paid = renewed(trial, trial.currentPeriod.end)
  t.match(paid, { status: 'active', anchor: '2026-02-14' })
  t.same([utc(paid.currentPeriod.start), utc(paid.currentPeriod.end)], ['2026-02-13T23:00', '2026-03-13T23:00'])
})

t.test('a trial that is ended early is paid for from that day on, and on its first day leaves no period', async (t) => {
  const context = { timeZone: 'Europe/Paris', scheduledPlan: null }
  const third = written(activate(created('trial'), { ...context, now: Date.parse('2026-02-02T10:07Z') }))
  t.same(third.events, ['subscription.activated'])
  t.match(third.next, { status: 'active', anchor: '2026-02-02', trialEnd: Date.parse('2026-02-02T10:00Z') })
  t.same(third.closed, { start: Date.parse('2026-01-30T23:00Z'), end: Date.parse('2026-02-01T23:00Z') })
  t.match(third.opened, {
    start: Date.parse('2026-02-01T23:00Z'),
    end: Date.parse('2026-03-01T23:00Z'),
    isTrial: false
  })
  const first = written(activate(created('trial'), { ...context, now: NOW + 60_000 }))
  t.equal(first.closed, null)
  t.same(
    [utc(first.next.currentPeriod.start), utc(first.next.currentPeriod.end)],
    ['2026-01-30T23:00', '2026-02-27T23:00']
  )
})

t.test('a higher fee holds at once, a lower or equal one and another interval from the next period on', async (t) => {
  const now = Date.parse('2026-02-10T09:22Z')
  const up = written(changed(created(), { planId: 'pro' }, now))
  t.match(up, {
    next: { planId: 'pro', scheduledChange: null },
    change: { at: Date.parse('2026-02-10T09:15Z'), fromPlanId: 'basic' }
  })
  const end = up.next.currentPeriod.end
  const down = written(changed(up.next, { planId: 'basic' }, now))
  t.match(down, {
    next: { planId: 'pro', scheduledChange: { kind: 'change-plan', planId: 'basic', at: end } },
    change: null
  })
  t.match(written(changed(up.next, { planId: 'basic', when: 'now' }, now)), {
    next: { planId: 'basic' },
    change: { toPlanId: 'basic' }
  })
  t.match(renewed(down.next, end), { planId: 'basic', scheduledChange: null })
  t.same(changed(up.next, { planId: 'yearly', when: 'now' }, now), { refused: 'interval-changes-at-period-end' })
  const yearly = renewed(written(changed(up.next, { planId: 'yearly' }, now)).next, end)
  t.match(yearly, { planId: 'yearly', interval: 'year', anchor: '2026-02-28' })
  t.equal(utc(yearly.currentPeriod.end), '2027-02-27T23:00')
  t.same(changed(up.next, { planId: 'pro' }, now), { refused: 'same-plan' })
})

t.test('a change takes the place of a scheduled one; a cancellation must be taken back first', async (t) => {
  const now = Date.parse('2026-02-10T09:22Z')
  const pro = created('pro')
  const scheduled = written(changed(pro, { planId: 'basic' }, now)).next
  t.match(written(changed(scheduled, { planId: 'yearly' }, now)).next.scheduledChange, { planId: 'yearly' })
  const canceled = written(cancel(scheduled, { when: 'period-end', now })).next
  t.match(canceled, { status: 'active', canceledAt: now, scheduledChange: { kind: 'cancel', planId: null } })
  t.same(changed(canceled, { planId: 'basic' }, now), { refused: 'illegal-transition' })
  t.same(cancel(canceled, { when: 'period-end', now }), { refused: 'illegal-transition' })
  t.match(written(keep(canceled, now)).next, { scheduledChange: null, canceledAt: null })
  t.same(keep(pro, now), { refused: 'illegal-transition' })
  t.match(renewed(canceled, canceled.currentPeriod.end), {
    status: 'ended',
    currentPeriod: canceled.currentPeriod,
    canceledAt: now
  })
})

t.test('a period that is cut off ends with the quarter-hour before, and is never empty', async (t) => {
  const cut = written(cancel(created(), { when: 'now', now: Date.parse('2026-02-10T09:22Z') }))
  t.match(cut, { next: { status: 'canceled' }, closed: { end: Date.parse('2026-02-10T09:15Z') }, opened: null })
  const midnight = Date.parse('2026-01-30T23:00Z')
  const atOnce = written(cancel(created('basic', midnight), { when: 'now', now: midnight + 1 }))
  t.same(atOnce.closed, { start: midnight, end: midnight + QUARTER_HOUR_MS })
  t.equal(atOnce.change?.at, midnight)
})

t.test('a change by a slower clock does not lie before the one that it follows', async (t) => {
  const quarter = Date.parse('2026-02-10T09:15Z')
  const paused = written(pause(created(), quarter + 3))
  const resumed = written(resume(paused.next, quarter - 10))
  t.equal(resumed.change?.at, quarter)
  t.equal(resumed.next.updatedAt, quarter + 3)
  const late = renewed(paused.next, paused.next.currentPeriod.end)
  t.match(resume(late, late.currentPeriod.start - 10), { change: { at: late.currentPeriod.start } })
})

t.test('a plan that the customer can not have is refused', async (t) => {
  for (const [content, customer, refused] of [
    [{ status: 'draft' }, {}, 'plan-not-published'],
    [{ status: 'archived' }, {}, 'plan-not-published'],
    [{ onlyFor: 'institution' }, {}, 'plan-not-for-customer'],
    [{ currency: 'XOF' }, {}, 'currency-mismatch'],
    [{}, { status: 'suspended' }, 'customer-not-active']
  ] as const) {
    const ask = { customer: { ...CUSTOMER, ...customer }, now: NOW }
    t.same(createSubscription({ ...ask, id: 's', plan: planOf({ ...content }) }), { refused })
    const change = { ...ask, current: plan('basic'), wanted: planOf({ ...content }), when: null }
    t.same(changePlan(created(), change), { refused })
  }
})
