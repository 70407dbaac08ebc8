// Subscriptions with usage in the ledger, and billing on them, for tests: real stores on a database of their own, a clock that is set.
// The other stores agree unless a test says otherwise: the gate has tests of its own.

import { randomUUIDv7 } from 'node:crypto'
import { renewDueSubscriptions } from '../../api/subscriptions/renew-subscriptions.ts'
import { billDue } from '../../billing-job/bill-due.ts'
import type { BillingGate } from '../../domain/billing/invoices/billing-gate.ts'
import type { RoundOutcome } from '../../domain/billing/invoices/billing-store.ts'
import { parseTaxTable } from '../../domain/billing/tax-table.ts'
import { type Change, PLATFORM } from '../../domain/change.ts'
import type { Customer } from '../../domain/customers/customer.ts'
import type { PlanVersion } from '../../domain/subscriptions/plan.ts'
import type { Subscription } from '../../domain/subscriptions/subscription.ts'
import { createSubscription, type Outcome } from '../../domain/subscriptions/subscription-life-cycle.ts'
import { quarterOf } from '../../domain/tokens/quarter-hour.ts'
import type { TokenPool } from '../../domain/tokens/token-pools.ts'
import { PostgresBillingStore } from '../../sql/billing/billing-store.ts'
import { Database } from '../../sql/connect.ts'
import { type CustomerService, startCustomerService } from '../customer-service.ts'

export const HOUR_MS = 3_600_000
export const DAY_MS = 24 * HOUR_MS
const CONNECTIONS_MAX = 16

/** What billing is told unless a test says otherwise. */
export const TERMS = {
  graceMs: 2 * HOUR_MS,
  adjustmentWindowMs: 35 * DAY_MS,
  numberPrefix: 'INV-',
  issuer: { name: 'Tokenmeter', address: [], taxId: null, paymentInstructions: null },
  asDrafts: false,
  taxes: parseTaxTable([])
}

export const ALL_AGREE: BillingGate = {
  ledgerBehind: async () => null,
  differences: async () => new Map()
}

const UNTOLD: Change = { reach: PLATFORM, audit: [], events: [], request: null }

export interface Usage {
  readonly customerId: string
  readonly at: number
  readonly model?: string
  readonly pool?: TokenPool
  /** Below zero: of a void. */
  readonly tokens: number
}

export interface BillingService extends CustomerService {
  readonly billingStore: PostgresBillingStore
  /** As whoever signed in: sees and writes every row. */
  readonly database: Database
  subscribe(customer: Customer, plan: PlanVersion): Promise<Subscription>
  /** What a rule of a life cycle says, written. */
  turn(outcome: Outcome): Promise<Subscription>
  use(usage: Usage): Promise<void>
  /** Lets periods follow. */
  renewAll(): Promise<void>
  /** Moves the clock, lets periods follow, and bills what is due. */
  billAt(at: number, options?: Partial<BillOptions>): Promise<RoundOutcome>
}

interface BillOptions {
  readonly gate: BillingGate
  readonly terms: Partial<typeof TERMS>
  readonly concurrency: number
  readonly batchSize: number
}

export async function startBillingService(t: Parameters<typeof startCustomerService>[0]): Promise<BillingService> {
  const service = await startCustomerService(t)
  const options = { databaseUrl: service.databaseUrl, connectionsMax: CONNECTIONS_MAX }
  const platform = new Database({ ...options, applicationName: 'billing-test', role: 'tokenmeter_platform' })
  const database = new Database({ ...options, applicationName: 'billing-test-login', role: 'login' })
  t.teardown(async () => {
    await Promise.all([platform.close(), database.close()])
  })
  const billingStore = new PostgresBillingStore(platform)
  const { subscriptionStore } = service.stores

  async function renewAll(): Promise<void> {
    for (;;) {
      const { renewed, failed } = await renewDueSubscriptions({ ...service.stores, now: service.now }, () => false)
      if (failed.length > 0) throw new Error('a renewal failed', { cause: failed[0]?.error })
      if (renewed === 0) return
    }
  }

  return {
    ...service,
    billingStore,
    database,
    renewAll,
    async subscribe(customer, plan) {
      const made = createSubscription({ id: randomUUIDv7(), customer, plan, now: service.now() })
      if ('refused' in made) throw new Error(`refused: ${made.refused}`)
      const inserted = await subscriptionStore.insert(made, UNTOLD)
      if (inserted !== 'inserted') throw new Error(inserted)
      return made.next
    },
    async turn(outcome) {
      if ('refused' in outcome) throw new Error(`refused: ${outcome.refused}`)
      const updated = await subscriptionStore.update(outcome, UNTOLD)
      if (updated !== 'updated') throw new Error(updated)
      return outcome.next
    },
    async use({ customerId, at, model = 'sonnet', pool = 'input', tokens }) {
      const sums = { input: 0, cacheRead: 0, cacheWrite: 0, output: 0, reasoning: 0, [pool]: tokens }
      await database.query('use tokens', {
        text: `insert into usage_ledger as kept
                 (partition, customer_id, user_id, model, quarter, input, cache_read, cache_write, output, reasoning, events)
               values (0, $1, '', $2, $3, $4, $5, $6, $7, $8, 1)
               on conflict (partition, customer_id, user_id, model, quarter) do update set
                 input = kept.input + excluded.input, cache_read = kept.cache_read + excluded.cache_read,
                 cache_write = kept.cache_write + excluded.cache_write, output = kept.output + excluded.output,
                 reasoning = kept.reasoning + excluded.reasoning, events = kept.events + 1`,
        values: [
          customerId,
          model,
          quarterOf(at),
          sums.input,
          sums.cacheRead,
          sums.cacheWrite,
          sums.output,
          sums.reasoning
        ]
      })
    },
    async billAt(at, { gate = ALL_AGREE, terms = {}, concurrency = 1, batchSize = 250 } = {}) {
      service.setNow(at)
      await renewAll()
      return billDue(
        { store: billingStore, gate, terms: { ...TERMS, ...terms }, now: service.now },
        { batchSize, concurrency, subscriptionId: null, onProgress: () => undefined, isStopped: () => false }
      )
    }
  }
}
