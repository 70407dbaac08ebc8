// The API on real stores, for tests of what it keeps in Postgres: each has a database of its own. The meter, ClickHouse and Kafka
// are the plain values of api/ports-in-memory.ts.

import type { ApiDependencies } from '../api/api-dependencies.ts'
import { type Answers, NOW, startTestApp, type TestApp } from '../api/ports-in-memory.ts'
import { limitRefresh } from '../api/renew-limits.ts'
import type { CompiledLimits } from '../domain/tokens/limit.ts'
import { PostgresBillingStore } from '../sql/billing/billing-store.ts'
import { PostgresCreditNoteStore } from '../sql/billing/credit-note-store.ts'
import { PostgresInvoiceStore } from '../sql/billing/invoice-store.ts'
import { PostgresLineLedger } from '../sql/billing/line-ledger.ts'
import { PostgresCollectStore } from '../sql/billing/payments/collect-store.ts'
import { PostgresPaymentAccountStore } from '../sql/billing/payments/payment-account-store.ts'
import { PostgresPaymentStore } from '../sql/billing/payments/payment-store.ts'
import { PostgresRefundStore } from '../sql/billing/payments/refund-store.ts'
import { PostgresAuditStore } from '../sql/change/audit-store.ts'
import { PostgresIdempotencyStore } from '../sql/change/idempotency-store.ts'
import { Database } from '../sql/connect.ts'
import { EntityDatabase } from '../sql/connect-slonik.ts'
import { PostgresApiKeyStore } from '../sql/customers/api-key-store.ts'
import { PostgresCustomerStore } from '../sql/customers/customer-store.ts'
import { PostgresUserStore } from '../sql/customers/user-store.ts'
import { PostgresLimitStore } from '../sql/limit-store.ts'
import { PostgresEffectiveLimits } from '../sql/subscriptions/effective-limits.ts'
import { PostgresGrantStore } from '../sql/subscriptions/grant-store.ts'
import { PostgresPlanStore } from '../sql/subscriptions/plan-store.ts'
import { PostgresSubscriptionStore } from '../sql/subscriptions/subscription-store.ts'
import { PostgresWebhookDeliveryLog } from '../sql/webhooks/delivery-log.ts'
import { PostgresWebhookEndpointStore } from '../sql/webhooks/endpoint-store.ts'
import { freshDatabase } from './services.ts'

/** So that requests meet in the database when a test sends many at once. */
const CONNECTIONS_MAX = 16

/** What a test hands over so that it can be cleaned up after. */
interface Teardown {
  teardown(handler: () => Promise<void>): void
}

export interface CustomerService extends TestApp {
  readonly databaseUrl: string
  readonly entities: EntityDatabase
  readonly billingStore: PostgresBillingStore
  readonly stores: Pick<
    ApiDependencies,
    | 'apiKeyStore'
    | 'creditNoteStore'
    | 'customerStore'
    | 'grantStore'
    | 'invoiceStore'
    | 'limitRefresh'
    | 'limitStore'
    | 'lineLedger'
    | 'planStore'
    | 'subscriptionStore'
    | 'userStore'
  >
  /** What the meter was told last, by customer. */
  readonly inForce: ReadonlyMap<string, CompiledLimits>
  /** The service's clock: stands still unless it is set. */
  now(): number
  setNow(ms: number): void
}

/** `others` takes the place of what the app would be given, as the keys of tokens. */
export async function startCustomerService(
  t: Teardown,
  given: Partial<Answers> = {},
  others: Partial<ApiDependencies> = {}
): Promise<CustomerService> {
  const databaseUrl = await freshDatabase(t)
  const entities = new EntityDatabase({
    databaseUrl,
    applicationName: 'customer-service-test',
    connectionsMax: CONNECTIONS_MAX
  })
  const billing = new Database({ databaseUrl, applicationName: 'billing-test', role: 'tokenmeter_platform' })
  const billingStore = new PostgresBillingStore(billing)
  let at = NOW
  const now = () => at
  const limitStore = new PostgresLimitStore(entities)
  const effectiveLimits = new PostgresEffectiveLimits(entities)
  const auditStore = new PostgresAuditStore(entities)
  const inForce = new Map<string, CompiledLimits>()
  const stores = {
    limitStore,
    limitRefresh: limitRefresh({
      effectiveLimits,
      limitMeter: { setLimits: async (limits) => void inForce.set(limits.customerId, limits) },
      limitStore,
      now
    }),
    effectiveLimits,
    grantStore: new PostgresGrantStore(entities),
    customerStore: new PostgresCustomerStore(entities),
    planStore: new PostgresPlanStore(entities),
    subscriptionStore: new PostgresSubscriptionStore(entities),
    userStore: new PostgresUserStore(entities),
    invoiceStore: new PostgresInvoiceStore(entities),
    creditNoteStore: new PostgresCreditNoteStore(entities),
    billingStories: billingStore,
    lineLedger: new PostgresLineLedger(entities),
    paymentStore: new PostgresPaymentStore(entities),
    refundStore: new PostgresRefundStore(entities),
    paymentAccountStore: new PostgresPaymentAccountStore(entities),
    collectStore: new PostgresCollectStore(entities),
    apiKeyStore: new PostgresApiKeyStore(entities),
    auditSearch: auditStore,
    auditEraser: auditStore,
    webhookEndpointStore: new PostgresWebhookEndpointStore(entities),
    webhookDeliveryLog: new PostgresWebhookDeliveryLog(entities),
    idempotencyStore: new PostgresIdempotencyStore(entities)
  }
  const started = await startTestApp(given, { ...stores, now, ...others })
  t.teardown(async () => {
    await started.app.close()
    await Promise.all([entities.close(), billing.close()])
  })
  return {
    ...started,
    databaseUrl,
    entities,
    billingStore,
    stores,
    inForce,
    now,
    setNow(ms) {
      at = ms
    }
  }
}
