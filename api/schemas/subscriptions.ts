import Type from 'typebox'
import type { JsonObject } from '../../domain/json.ts'
import type { PlanVersion } from '../../domain/subscriptions/plan.ts'
import type { PlanChangeTerms } from '../../domain/subscriptions/plan-change.ts'
import { SUBSCRIPTION_STATUSES } from '../../domain/subscriptions/subscription.ts'
import * as schemas from './shared.ts'

const PLAN_ID = '0198c0de-0000-7000-8000-000000000021'
const OTHER_PLAN_ID = '0198c0de-0000-7000-8000-000000000022'

const PlanId = Type.String({
  description: 'Id of a published plan version.',
  minLength: 1,
  maxLength: 128,
  pattern: schemas.VISIBLE,
  examples: [PLAN_ID]
})
/** As long as usage may come late: what is older was counted under nothing that could be billed. */
export const STARTED_DAYS_MAX = 35

const AMOUNT = 'in the minor unit of the currency, decimal digits'

export const Status = schemas.oneOf(
  SUBSCRIPTION_STATUSES,
  '`canceled` was cut off within a period, `ended` ran to the end of its last one: neither comes back.'
)

export const NewSubscriptionBody = Type.Object(
  {
    customerId: schemas.CustomerId,
    planId: PlanId,
    startsAt: Type.Optional({
      ...schemas.Instant,
      description: `Since when the customer uses the plan: usage from its quarter-hour on is billed. At most ${STARTED_DAYS_MAX} days ago; left out: now.`
    })
  },
  { ...schemas.strict, title: 'NewSubscription', examples: [{ customerId: 'clinic-42', planId: PLAN_ID }] }
)

export const PlanChangeBody = Type.Object(
  {
    planId: PlanId,
    when: Type.Optional(
      schemas.oneOf(
        ['now', 'period-end'],
        'Left out: a higher base fee holds now, a lower or equal one from the next period on. Another interval always waits for the end of the period; within a trial every plan holds now.'
      )
    )
  },
  {
    ...schemas.strict,
    title: 'PlanChangeAsked',
    examples: [{ planId: OTHER_PLAN_ID }, { planId: OTHER_PLAN_ID, when: 'period-end' }]
  }
)

export const CancellationBody = Type.Object(
  { when: schemas.oneOf(['now', 'period-end'], 'Whether the current period is still used to its end.') },
  { ...schemas.strict, title: 'Cancellation', examples: [{ when: 'period-end' }] }
)

const PeriodTold = Type.Object(
  { start: schemas.Instant, end: schemas.Instant },
  {
    ...schemas.strict,
    title: 'Period',
    description: 'Half-open: the end is the start of the next one. Beginnings of days in `timeZone`.'
  }
)

/** A union with null would be serialized by trial; a list of types is written directly. */
const ScheduledChangeTold = Type.Unsafe<ScheduledChangeJson | null>({
  type: ['object', 'null'],
  title: 'ScheduledChange',
  description: 'What happens at the end of the current period; null: it is followed by the next.',
  properties: {
    kind: schemas.oneOf(['change-plan', 'cancel'], 'What happens.'),
    planId: schemas.NullableString('Of `change-plan`: the plan version that follows.'),
    at: schemas.Instant
  },
  required: ['kind', 'planId', 'at'],
  additionalProperties: false
})

interface ScheduledChangeJson extends JsonObject {
  readonly kind: 'change-plan' | 'cancel'
  readonly planId: string | null
  readonly at: string
}

export const SubscriptionTold = Type.Object(
  {
    id: Type.String({ description: 'Id of the subscription.' }),
    customerId: Type.String(),
    planId: Type.String({ description: 'Id of the plan version in force.' }),
    status: Status,
    anchor: Type.String({ description: 'Local date of which the start of every paid period derives.' }),
    interval: schemas.oneOf(['month', 'year'], 'How long a period is.'),
    timeZone: Type.String({
      description: "The zone of the current period: the customer's, as it was when that began."
    }),
    currentPeriod: PeriodTold,
    trialEnd: schemas.NullableInstant('When the trial ends or ended; null: there was none.'),
    scheduledChange: ScheduledChangeTold,
    pausedAt: schemas.NullableInstant('Since when it is paused; null: it is not.'),
    canceledAt: schemas.NullableInstant('When it was canceled; it may run on to the end of its period.'),
    version: Type.Integer({ description: 'Raised by one with each change; the ETag is this number in quotes.' }),
    createdAt: schemas.Instant,
    updatedAt: schemas.Instant
  },
  { ...schemas.strict, title: 'Subscription', description: "A customer's use of a plan version, period by period." }
)

export const PlanChangeTold = Type.Object(
  {
    planId: Type.String({ description: 'Id of the plan version that would follow.' }),
    when: schemas.oneOf(['now', 'period-end'], 'Whether it would hold at once.'),
    effectiveAt: schemas.Instant,
    currency: Type.String({ description: 'ISO 4217.' }),
    creditMinor: Type.String({ description: `The old base fee's share of the days that are left, ${AMOUNT}.` }),
    chargeMinor: Type.String({ description: `The new base fee's share of the same days, ${AMOUNT}.` }),
    netMinor: Type.String({ description: `Charge less credit, ${AMOUNT}; below zero the customer gets it back.` })
  },
  { ...schemas.strict, title: 'PlanChange', description: 'What a change of plan would do.' }
)

export const SUBSCRIPTION_EXAMPLE = {
  id: '0198c0de-0000-7000-8000-000000000031',
  customerId: 'clinic-42',
  planId: PLAN_ID,
  status: 'active',
  anchor: '2026-01-31',
  interval: 'month',
  timeZone: 'Europe/Paris',
  currentPeriod: { start: '2026-02-27T23:00:00.000Z', end: '2026-03-30T22:00:00.000Z' },
  trialEnd: null,
  scheduledChange: null,
  pausedAt: null,
  canceledAt: null,
  version: 2,
  createdAt: '2026-01-31T08:12:45.120Z',
  updatedAt: '2026-02-27T23:00:00.410Z'
} as const

export const PLAN_CHANGE_EXAMPLE = {
  planId: OTHER_PLAN_ID,
  when: 'now',
  effectiveAt: '2026-03-12T09:30:00.000Z',
  currency: 'EUR',
  creditMinor: '3003',
  chargeMinor: '6068',
  netMinor: '3065'
} as const

export function tellPlanChange({ id, currency }: PlanVersion, terms: PlanChangeTerms) {
  const { when, at, creditMinor, chargeMinor, netMinor } = terms
  return {
    planId: id,
    when,
    effectiveAt: instant(at),
    currency,
    creditMinor: String(creditMinor),
    chargeMinor: String(chargeMinor),
    netMinor: String(netMinor)
  }
}

function instant(ms: number): string {
  return new Date(ms).toISOString()
}
