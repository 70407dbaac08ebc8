/** Variables of billing: of the worker, and of the API, which shows and finalizes invoices. The rules of config.ts apply. */
import Type, { type Static } from 'typebox'
import type { Issuer } from '../../domain/billing/invoices/invoice.ts'
import { TAX_RATE_PATTERN } from '../../domain/billing/tax-table.ts'
import { isTimeZone } from '../../domain/tokens/windows.ts'
import { isCronPattern } from './cron-pattern.ts'

const HOUR_MS = 3_600_000
const DAY_MS = 24 * HOUR_MS

/** The same in the worker and the API. */
export const billingVariables = Type.Object({
  BILLING_REDIS_URL: Type.String({
    pattern: '^rediss?://',
    default: 'redis://127.0.0.1:6379/1',
    description:
      'Redis of the job queues: a database of its own, never the one of the meter, with maxmemory-policy noeviction; one server, not a cluster, which has no database 1. What is due stands in Postgres: losing it loses no bill.'
  }),
  BILLING_QUEUE_PREFIX: Type.String({
    minLength: 1,
    default: 'tokenmeter',
    description: 'Begins the keys of the job queues. Two installations on one Redis need two.'
  }),
  BILLING_GRACE_MS: Type.Integer({
    minimum: 900_000,
    maximum: 48 * HOUR_MS,
    default: 2 * HOUR_MS,
    description:
      'Milliseconds after the end of a period before it is billed. Usage that arrives later is a line of a later invoice: shorter, more of those.'
  }),
  BILLING_ADJUSTMENT_DAYS: Type.Integer({
    minimum: 1,
    maximum: 366,
    default: 35,
    description:
      'Days after the end of a period for which it is rated again with each later invoice. Usage that comes, or is voided, after them is never billed. At least as many as an event may be late.'
  }),
  BILLING_TAX_RATES: Type.Unsafe<readonly string[]>({
    type: 'string',
    separator: ',',
    pattern: `^(${TAX_RATE_PATTERN}(,${TAX_RATE_PATTERN})*)?$`,
    default: '',
    examples: ['SN:18,TN:19:inclusive'],
    description:
      "Tax in percent by the customer's country; on top of prices, or held by them when inclusive. A country that is not named is not taxed."
  }),
  BILLING_AS_DRAFTS: Type.Boolean({
    default: false,
    description:
      'Whether invoices wait as drafts until somebody finalizes them. Drafts have no number and nobody is asked to pay them.'
  }),
  INVOICE_NUMBER_PREFIX: Type.String({
    pattern: '^[A-Z0-9-]{1,16}$',
    default: 'INV-',
    description: 'Begins the numbers of invoices. Each prefix is a series of its own, gapless from 1.'
  }),
  CREDIT_NOTE_NUMBER_PREFIX: Type.String({
    pattern: '^[A-Z0-9-]{1,16}$',
    default: 'CN-',
    description: 'Begins the numbers of credit notes; not the prefix of invoices.'
  })
})

/** Who invoices, as printed on each. */
export const issuerVariables = Type.Object({
  ISSUER_NAME: Type.String({ minLength: 1, default: 'Tokenmeter', description: 'Who invoices, at the head of each.' }),
  ISSUER_ADDRESS: Type.String({
    default: '',
    examples: ['12 avenue de la République|Dakar|Sénégal'],
    description: 'Its address; lines are separated by |.'
  }),
  ISSUER_TAX_ID: Type.Optional(Type.String({ minLength: 1, description: 'Its tax id, printed beside its name.' })),
  ISSUER_PAYMENT_INSTRUCTIONS: Type.Optional(
    Type.String({
      minLength: 1,
      examples: ['Bank transfer to SN08 SN01 0100 1234 5678 9012 3456'],
      description: 'How to pay by hand, at the foot of each invoice that is not paid.'
    })
  )
})

/** As it is printed. */
export function issuerOf(config: Readonly<Static<typeof issuerVariables>>): Issuer {
  return {
    name: config.ISSUER_NAME,
    address: config.ISSUER_ADDRESS === '' ? [] : config.ISSUER_ADDRESS.split('|'),
    taxId: config.ISSUER_TAX_ID ?? null,
    paymentInstructions: config.ISSUER_PAYMENT_INSTRUCTIONS ?? null
  }
}

export const billingJobVariables = Type.Object({
  BILLING_SCHEDULE: Type.String({
    minLength: 9,
    default: '30 2 * * *',
    description:
      'When billing runs, as a cron pattern of five fields: some minutes after midnight and BILLING_GRACE_MS, or what is due waits for the next night. A run that was missed is caught up by the next.'
  }),
  BILLING_TIME_ZONE: Type.String({
    minLength: 1,
    default: 'UTC',
    description: 'IANA name of the zone of that pattern.'
  }),
  BILLING_BATCH_SIZE: Type.Integer({
    minimum: 1,
    maximum: 1_000,
    default: 250,
    description:
      'Invoices made in one transaction. More: fewer round trips, longer locks, more to do again when a worker dies.'
  }),
  BILLING_CONCURRENCY: Type.Integer({
    minimum: 1,
    maximum: 16,
    default: 2,
    description: 'Such transactions at once in one run, a connection to Postgres each.'
  }),
  BILLING_LOCK_MS: Type.Integer({
    minimum: 1_000,
    maximum: 600_000,
    default: 30_000,
    description:
      'Milliseconds after which the job of a worker that says nothing is given to another, looked at as often. Smaller: one that died is replaced sooner, a slow one needlessly, which bills nothing twice.'
  }),
  COLLECT_INTERVAL_MS: Type.Integer({
    minimum: 1_000,
    maximum: HOUR_MS,
    default: 60_000,
    description: 'Milliseconds between two looks for invoices to charge or to remind of.'
  })
})

export const paymentVariables = Type.Object({
  STRIPE_API_KEY: Type.Optional(
    Type.String({
      minLength: 8,
      description: 'Secret key at Stripe. Without it every invoice is paid by hand.'
    })
  ),
  STRIPE_WEBHOOK_SECRET: Type.Optional(
    Type.String({ minLength: 8, description: 'Secret by which Stripe signs its webhooks. Needed with the key.' })
  ),
  STRIPE_API_HOST: Type.String({ minLength: 1, default: 'api.stripe.com', description: "Host of Stripe's API." }),
  STRIPE_API_PORT: Type.Integer({ minimum: 1, maximum: 65_535, default: 443, description: 'Port of the same.' }),
  STRIPE_API_PROTOCOL: Type.Enum(['https', 'http'], {
    default: 'https',
    description: 'Protocol of the same; http for a stand-in alone.'
  })
})

type BillingEnvironment = Static<typeof billingVariables> &
  Static<typeof billingJobVariables> &
  Static<typeof paymentVariables> & { readonly ACCEPTANCE_WINDOW_MS: number }

/** What one variable alone can't tell. */
export function findBillingContradictions(env: Partial<BillingEnvironment>): readonly string[] {
  const faults: string[] = []
  const { ACCEPTANCE_WINDOW_MS: acceptance, BILLING_ADJUSTMENT_DAYS: days } = env
  if (acceptance !== undefined && days !== undefined && days * DAY_MS < acceptance) {
    faults.push(
      `BILLING_ADJUSTMENT_DAYS (${days}) must be at least ACCEPTANCE_WINDOW_MS (${acceptance}): an event could be accepted and never billed`
    )
  }
  const { INVOICE_NUMBER_PREFIX: invoices, CREDIT_NOTE_NUMBER_PREFIX: creditNotes } = env
  if (invoices !== undefined && invoices === creditNotes)
    faults.push('INVOICE_NUMBER_PREFIX and CREDIT_NOTE_NUMBER_PREFIX must differ: their numbers would be the same')
  if ((env.STRIPE_API_KEY === undefined) !== (env.STRIPE_WEBHOOK_SECRET === undefined))
    faults.push('STRIPE_API_KEY and STRIPE_WEBHOOK_SECRET must be set together')
  const countries = (env.BILLING_TAX_RATES ?? []).map((rate) => rate.slice(0, 2))
  if (new Set(countries).size !== countries.length) faults.push('BILLING_TAX_RATES names a country twice')
  const { BILLING_SCHEDULE: schedule, BILLING_TIME_ZONE: timeZone } = env
  if (schedule !== undefined && !isCronPattern(schedule))
    faults.push('BILLING_SCHEDULE must be a cron pattern of five fields that comes at some time, such as 30 2 * * *')
  if (timeZone !== undefined && !isTimeZone(timeZone))
    faults.push('BILLING_TIME_ZONE must be an IANA time zone, such as Africa/Dakar')
  return faults
}
