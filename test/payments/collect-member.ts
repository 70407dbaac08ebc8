// A process that collects until it is killed: `node test/payments/collect-member.ts DATABASE STRIPE STARTED_AT [CRASH_AT]`. Its days last a
// second, so that leases and schedules pass while a test looks on: STARTED_AT is when the due date was, ms of the real clock. STRIPE is a
// connection, as JSON.

import { collectDue } from '../../billing-job/collect/collect-due.ts'
import { markPastDue } from '../../billing-job/collect/mark-past-due.ts'
import { RetryableError } from '../../domain/errors.ts'
import { withCrashPoints } from '../../monitoring/crash-point.ts'
import { StripeProvider } from '../../payments/stripe-provider.ts'
import { PostgresCollectStore } from '../../sql/billing/payments/collect-store.ts'
import { PostgresOverdueSubscriptions } from '../../sql/billing/payments/overdue-subscriptions.ts'
import { EntityDatabase } from '../../sql/connect-slonik.ts'
import { PostgresSubscriptionStore } from '../../sql/subscriptions/subscription-store.ts'
import { DAY_MS, DUE } from './collecting.ts'

const REAL_DAY_MS = 1_000
const PROVIDER_TIMEOUT_MS = 1_000

const [databaseUrl = '', stripe = '', startedAt = '', crashAt] = process.argv.slice(2)

const database = new EntityDatabase({ databaseUrl, applicationName: 'collect-member' })
const now = () => DUE + Math.round(((Date.now() - Number(startedAt)) * DAY_MS) / REAL_DAY_MS)
const dependencies = {
  collectStore: withCrashPoints('payment-store', new PostgresCollectStore(database), crashAt),
  provider: withCrashPoints(
    'provider',
    new StripeProvider({ ...JSON.parse(stripe), timeoutMs: PROVIDER_TIMEOUT_MS }),
    crashAt
  ),
  overdueSubscriptions: new PostgresOverdueSubscriptions(database),
  subscriptionStore: new PostgresSubscriptionStore(database),
  now,
  onFault: ({ invoiceId, error }: { readonly invoiceId: string; readonly error: unknown }) => {
    if (!(error instanceof RetryableError)) process.stdout.write(`fault ${invoiceId}: ${error}\n`)
  }
}
const forever = () => false

for (;;) {
  await collectDue(dependencies, { batchSize: 5, concurrency: 2, isStopped: forever, onBatch: () => undefined })
  await markPastDue(dependencies, forever)
}
