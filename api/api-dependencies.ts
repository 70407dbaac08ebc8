/** What the API is given by its `main.ts`, and the type of the instance its routes are registered on. */
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import type { FastifyBaseLogger, FastifyInstance, RawServerDefault } from 'fastify'
import type {
  EffectiveLimits,
  HoldOutcome,
  LimitMeter,
  LimitStore,
  QuotaMeter,
  UsageEventLog,
  UsageQueries
} from '../domain/api-ports.ts'
import type { AuditEraser, AuditSearch } from '../domain/audit/audit-store.ts'
import type { BillingStore } from '../domain/billing/invoices/billing-store.ts'
import type { LineEvents, LineLedger } from '../domain/billing/invoices/explain-line.ts'
import type { Issuer } from '../domain/billing/invoices/invoice.ts'
import type { CreditNoteStore, InvoiceStore } from '../domain/billing/invoices/invoice-store.ts'
import type { PaymentProvider } from '../domain/billing/payments/payment-provider.ts'
import type {
  CollectStore,
  PaymentAccountStore,
  PaymentStore,
  RefundStore
} from '../domain/billing/payments/payment-store.ts'
import type { TaxTable } from '../domain/billing/tax-table.ts'
import type { IdempotencyStore } from '../domain/change.ts'
import type { ApiKeyLookup, ApiKeyStore } from '../domain/customers/api-key-store.ts'
import type { CustomerStore } from '../domain/customers/customer-store.ts'
import type { SeenUsers } from '../domain/customers/user-activity.ts'
import type { UserStore } from '../domain/customers/user-store.ts'
import type { PlanStore } from '../domain/subscriptions/plan-store.ts'
import type { SubscriptionStore } from '../domain/subscriptions/subscription-store.ts'
import type { DecodeLimits } from '../domain/tokens/decode-cloud-event.ts'
import type { LimitRefresh } from '../domain/tokens/effective/limit-refresh.ts'
import type { GrantStore } from '../domain/tokens/grants/grant-store.ts'
import type { WebhookDeliveryLog, WebhookEndpointStore } from '../domain/webhooks/webhook-store.ts'
import type { ConfiguredKey } from './access/configured-keys.ts'
import type { TokenVerifier } from './access/verify-token.ts'
import type { BoardQueue } from './operations/board-queue.ts'
import type { WebhookUrls } from './webhooks/check-url.ts'

/** Fastify with routes typed by their TypeBox schemas. */
export type Api = FastifyInstance<
  RawServerDefault,
  IncomingMessage,
  ServerResponse,
  FastifyBaseLogger,
  TypeBoxTypeProvider
>

/** Whether requests should be sent here, and how each service fares that the API uses. */
export interface Readiness {
  readonly ready: boolean
  readonly checks: readonly {
    readonly name: string
    readonly ready: boolean
    /** Why not; never a credential or an address. */
    readonly reason?: string
  }[]
}

/** Who is told what happened, for metrics. */
export interface ApiObserver {
  /** `response` closes when it is out, or its caller has gone. */
  arrived(response: { once(event: 'close', heard: () => void): unknown }): void
  /** `route` is the pattern, never the address. */
  answered(answer: {
    readonly method: string
    readonly route: string
    readonly status: number
    readonly elapsedMs: number
  }): void
  checked(outcome: 'allowed' | 'refused' | 'unknown' | 'unknown-customer'): void
  /** Of a hold taken, extended or ended. */
  held(outcome: HoldOutcome['outcome']): void
}

/** Whose credentials are taken, and how often they may call. */
export interface AccessSettings {
  readonly configuredKeys: readonly ConfiguredKey[]
  /** Null: no token is taken. */
  readonly tokens: TokenVerifier | null
  /** How long what Postgres said of a credential is believed, ms. */
  readonly cacheMs: number
  /** Stands in the keys that are made. */
  readonly keyEnvironment: string
  /** Of one credential; 0: no limit. */
  readonly requestsPerMinute: number
  /** Addresses and networks that are believed who called them; empty: none. */
  readonly trustedProxies: readonly string[]
}

/** How invoices are made: of the configuration, the same in billing's worker. */
export interface InvoicingTerms {
  readonly issuer: Issuer
  readonly numberPrefix: string
  readonly creditNoteNumberPrefix: string
  readonly taxes: TaxTable
  readonly adjustmentWindowMs: number
}

export interface ApiDependencies {
  /** Of the product, for the OpenAPI document. */
  readonly version: string
  readonly quotaMeter: QuotaMeter
  readonly limitMeter: Pick<LimitMeter, 'balance'>
  readonly limitStore: LimitStore
  readonly limitRefresh: LimitRefresh
  readonly effectiveLimits: Pick<EffectiveLimits, 'grants' | 'unraised'>
  readonly grantStore: GrantStore
  readonly customerStore: CustomerStore
  readonly userStore: UserStore
  /** Told of each request that a user makes. */
  readonly seenUsers: SeenUsers
  readonly planStore: PlanStore
  readonly subscriptionStore: SubscriptionStore
  readonly invoiceStore: InvoiceStore
  readonly creditNoteStore: CreditNoteStore
  readonly billingStories: Pick<BillingStore, 'storyAt' | 'storyNow'>
  readonly lineLedger: LineLedger
  readonly lineEvents: LineEvents
  readonly invoicing: InvoicingTerms
  readonly paymentStore: PaymentStore
  readonly refundStore: RefundStore
  readonly paymentAccountStore: PaymentAccountStore
  /** For what a provider posts. */
  readonly collectStore: Pick<CollectStore, 'settle'>
  /** Null: none is configured, and everybody pays by hand. */
  readonly paymentProvider: PaymentProvider | null
  readonly usageQueries: UsageQueries
  readonly usageEventLog: UsageEventLog
  readonly access: AccessSettings
  readonly apiKeyStore: ApiKeyStore & ApiKeyLookup
  readonly auditSearch: AuditSearch
  readonly auditEraser: AuditEraser
  readonly webhookEndpointStore: WebhookEndpointStore
  readonly webhookDeliveryLog: WebhookDeliveryLog
  readonly webhookUrls: WebhookUrls
  readonly idempotencyStore: IdempotencyStore
  /** Shown to whoever runs the service; none: there is no board. */
  readonly jobQueues: readonly BoardQueue[]
  /** By the same rules as the consumer of the topic has them. */
  readonly decodeLimits: DecodeLimits
  /** Milliseconds since the epoch. */
  readonly now: () => number
  readonly logger: FastifyBaseLogger
  /** Answers within its own deadline and never throws. */
  readonly readiness: () => Promise<Readiness>
  /** The Prometheus text and its content type. */
  readonly metrics: () => Promise<{ readonly contentType: string; readonly text: string }>
  readonly observer: ApiObserver
  /** Browser origins that may call the API; empty: none. */
  readonly corsOrigins: readonly string[]
  /** Mean delay of the event loop within a second beyond which requests are refused; 0: none is. */
  readonly eventLoopDelayMaxMs: number
}
