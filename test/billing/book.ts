// One subscription as the stores keep it, without them: for invoices of customers that change as customers do.

import { sumOf } from '../../domain/billing/exact-amounts.ts'
import {
  type Advance,
  type BilledPeriod,
  type InvoicedPeriod,
  stretchesOf
} from '../../domain/billing/invoices/boundary-story.ts'
import { draftInvoice } from '../../domain/billing/invoices/draft-invoice.ts'
import type { InvoiceContent } from '../../domain/billing/invoices/invoice.ts'
import type { Customer } from '../../domain/customers/customer.ts'
import type { PlanVersion } from '../../domain/subscriptions/plan.ts'
import { changePlan } from '../../domain/subscriptions/plan-change.ts'
import type { Subscription, SubscriptionChange } from '../../domain/subscriptions/subscription.ts'
import { createSubscription, type Outcome } from '../../domain/subscriptions/subscription-life-cycle.ts'
import { activate, renew } from '../../domain/subscriptions/subscription-renewal.ts'
import type { Grant } from '../../domain/tokens/grants/grant.ts'
import { quarterOf } from '../../domain/tokens/quarter-hour.ts'
import { NO_TOKENS } from '../../domain/tokens/token-pools.ts'
import { customerOf } from '../plans-and-customers.ts'

const UNTAXED = { 'base-fee': null, usage: null, minimum: null }
const UTC = { country: 'SN', timeZone: 'Africa/Dakar' }

/** What the stores keep of one subscription: its periods and changes, the ledger, and what was invoiced. */
export class Book {
  customer: Customer
  grants: Grant[] = []
  readonly invoices: InvoiceContent[] = []
  /** Boundaries whose invoices were voided. */
  readonly voided = new Set<number>()
  readonly #plans = new Map<string, PlanVersion>()
  readonly #periods: BilledPeriod[] = []
  readonly #changes: SubscriptionChange[] = []
  readonly #usage: { readonly at: number; readonly tokens: number }[] = []
  #subscription: Subscription

  constructor(plan: PlanVersion, { at, ...customer }: Partial<Customer> & { readonly at: string }) {
    this.customer = customerOf({ ...UTC, ...customer })
    this.#plans.set(plan.id, plan)
    const id = 'subscription-1'
    this.#subscription = this.#write(createSubscription({ id, customer: this.customer, plan, now: Date.parse(at) }))
  }

  use(at: string, tokens: number): void {
    this.#usage.push({ at: Date.parse(at), tokens })
  }

  turn(rule: (subscription: Subscription, now: number) => Outcome, at: string): void {
    this.#write(rule(this.#subscription, Date.parse(at)))
  }

  change(wanted: PlanVersion, at: string): void {
    const current = this.#plans.get(this.#subscription.planId) ?? wanted
    this.#plans.set(wanted.id, wanted)
    this.turn(
      (subscription, now) => changePlan(subscription, { current, wanted, customer: this.customer, when: 'now', now }),
      at
    )
  }

  renew(): void {
    const now = this.#subscription.currentPeriod.end
    this.#write(renew(this.#subscription, { now, timeZone: this.customer.timeZone, scheduledPlan: null }))
  }

  activate(at: string): void {
    const { timeZone } = this.customer
    this.turn((subscription, now) => activate(subscription, { now, timeZone, scheduledPlan: null }), at)
  }

  /** The invoice of the start of the running period. */
  bill(): InvoiceContent | null {
    const { start } = this.#subscription.currentPeriod
    const story = {
      boundary: { subscriptionId: this.#subscription.id, customerId: this.customer.id, at: start },
      customer: this.customer,
      ended: this.#periods.find(({ end }) => end === start) ?? null,
      begins: this.#periods.find((period) => period.start === start) ?? null,
      earlier: this.#periods
        .filter(({ end, isTrial }) => end < start && !isTrial)
        .map((period) => this.#invoiced(period)),
      advance: this.#advance(this.#periods.find(({ end }) => end === start)?.start),
      changes: this.#changes.toSorted((a, b) => a.at - b.at),
      plans: this.#plans,
      grants: this.grants
    }
    const usage = stretchesOf(story).map(({ from, to }) => {
      const within = this.#usage.filter(({ at }) => quarterOf(at) >= from && quarterOf(at) < to)
      return {
        from,
        to,
        rows: within.map(({ tokens }) => ({ model: 'sonnet', quarter: from, tokens: { ...NO_TOKENS, input: tokens } }))
      }
    })
    const drafted = draftInvoice({ story, usage, taxRates: UNTAXED })
    if ('parked' in drafted) throw new Error(`parked: ${drafted.parked.code}`)
    if (drafted.content !== null) this.invoices.push(drafted.content)
    for (const { grantId, amountMinor } of drafted.content?.burns ?? []) {
      this.grants = this.grants.map((grant) =>
        grant.id === grantId ? { ...grant, burnt: grant.burnt + amountMinor } : grant
      )
    }
    return drafted.content
  }

  #advance(at: number | undefined): Advance | null {
    if (at === undefined) return null
    const lines = this.invoices.filter(({ boundary }) => boundary === at).flatMap((invoice) => invoice.lines)
    const advances = lines.filter((line) => line.kind === 'base-fee' && line.reason === 'advance')
    return { amountMinor: sumOf(advances.map(({ amountMinor }) => amountMinor)), isVoid: this.voided.has(at) }
  }

  #invoiced(period: BilledPeriod): InvoicedPeriod {
    const lines = this.invoices.flatMap(({ lines }) => lines)
    const within = ({ from }: { readonly from: number }) => from >= period.start && from < period.end
    return {
      period,
      isVoid: this.voided.has(period.end),
      lines: lines.filter((line) => line.kind !== 'base-fee' && within(line))
    }
  }

  #write(outcome: Outcome): Subscription {
    if ('refused' in outcome) throw new Error(`refused: ${outcome.refused}`)
    const { next, closed, opened, change } = outcome
    const at = this.#periods.findIndex(({ start }) => start === closed?.start)
    const open = this.#periods[at]
    if (closed !== null && open !== undefined) this.#periods[at] = { ...open, end: closed.end }
    if (opened !== null) {
      if (closed === null) this.#periods.pop()
      this.#periods.push({ ...opened, fullEnd: opened.end })
    }
    if (change !== null) this.#changes.push(change)
    this.#subscription = next
    return next
  }
}
