/** Invoices of subscriptions that change as customers do; the tables are those of docs/billing.md. */
import t from 'tap'
import { count, money, tableOf } from '../../../test/billing/billing-page.ts'
import { customerOf, planOf } from '../../../test/plans-and-customers.ts'
import type { Customer } from '../../customers/customer.ts'
import type { PlanVersion, Price } from '../../subscriptions/plan.ts'
import { changePlan } from '../../subscriptions/plan-change.ts'
import type { Subscription, SubscriptionChange } from '../../subscriptions/subscription.ts'
import { createSubscription, type Outcome, pause, resume } from '../../subscriptions/subscription-life-cycle.ts'
import { activate, renew } from '../../subscriptions/subscription-renewal.ts'
import type { Grant } from '../../tokens/grants/grant.ts'
import { quarterOf } from '../../tokens/quarter-hour.ts'
import { NO_TOKENS } from '../../tokens/token-pools.ts'
import { type BilledPeriod, type InvoicedPeriod, stretchesOf } from './boundary-story.ts'
import { draftInvoice } from './draft-invoice.ts'
import type { InvoiceContent } from './invoice.ts'

const UNTAXED = { 'base-fee': null, usage: null, minimum: null }
const UTC = { country: 'SN', timeZone: 'Africa/Dakar' }

function perMillion(amount: string): Price {
  return {
    pool: 'input',
    model: '*',
    chargeModel: 'per_unit',
    perTokens: 1_000_000,
    tiers: [{ upTo: null, amount }],
    includedTokens: 0,
    minimumMinor: 0n,
    effectiveFrom: null
  }
}

/** What the stores keep of one subscription: its periods and changes, the ledger, and what was invoiced. */
class Book {
  customer: Customer
  grants: Grant[] = []
  readonly invoices: InvoiceContent[] = []
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

  #invoiced(period: BilledPeriod): InvoicedPeriod {
    const lines = this.invoices.flatMap(({ lines }) => lines)
    const within = ({ from }: { readonly from: number }) => from >= period.start && from < period.end
    return { period, lines: lines.filter((line) => line.kind !== 'base-fee' && within(line)) }
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

function amounts(content: InvoiceContent | null, kind: string): string {
  const sum = (content?.lines ?? [])
    .filter((line) => line.kind === kind)
    .reduce((all, { amountMinor }) => all + amountMinor, 0n)
  return money(sum, 'EUR')
}

t.test('a plan changed in mid-period costs what the page says, as a story too', async (t) => {
  const tiers = (first: string, beyond: string, includedTokens: number) => ({
    ...perMillion('0'),
    chargeModel: 'graduated' as const,
    tiers: [
      { upTo: 10_000_000, amount: first },
      { upTo: null, amount: beyond }
    ],
    includedTokens
  })
  const small = planOf({ baseFeeMinor: 3_000n, prices: [tiers('3', '2', 2_000_000)] })
  const large = planOf({ baseFeeMinor: 9_000n, prices: [tiers('2.50', '1.50', 6_000_000)] })
  const book = new Book(small, { at: '2026-06-01T00:00Z' })
  book.bill()
  book.use('2026-06-10T12:00Z', 9_000_000)
  book.change(large, '2026-06-16T08:21Z')
  book.use('2026-06-16T08:15Z', 15_000_000)
  book.renew()
  const invoice = book.bill()
  const page = tableOf('Example: the plan changes in mid-period')
  t.same(
    invoice?.lines.map(({ amountMinor }) => money(amountMinor, 'EUR')),
    page.slice(0, -1).map((row) => row.at(-1))
  )
  t.same(
    invoice?.lines.flatMap((line) =>
      line.kind === 'usage' ? [[count(line.quantity), count(line.includedTokens)]] : []
    ),
    page.slice(0, 2).map((row) => row.slice(1, 3))
  )
  t.equal(money(invoice?.subtotalMinor ?? 0n, 'EUR'), page.at(-1)?.at(-1))
})

t.test('late usage and a void cost what the page says', async (t) => {
  const columns = [1_500_000, -500_000].map((tokens) => {
    const book = new Book(planOf({ baseFeeMinor: 0n, prices: [perMillion('2')] }), { at: '2026-05-01T00:00Z' })
    book.use('2026-05-12T12:00Z', 10_000_000)
    book.bill()
    book.renew()
    book.bill()
    book.use('2026-05-31T12:00Z', tokens)
    book.use('2026-06-12T12:00Z', 4_000_000)
    book.renew()
    const invoice = book.bill()
    const adjustment = invoice?.lines.find((line) => line.kind === 'adjustment')
    t.same(adjustment?.differences, [{ model: 'sonnet', pool: 'input', tokens: BigInt(tokens) }])
    return [
      amounts(invoice, 'usage'),
      money(adjustment?.ratedMinor ?? 0n, 'EUR'),
      money(adjustment?.invoicedMinor ?? 0n, 'EUR'),
      amounts(invoice, 'adjustment'),
      money(invoice?.totalMinor ?? 0n, 'EUR')
    ]
  })
  const page = tableOf('Example: late usage and a void')
  t.same(columns, [page.map((row) => row[1]), page.map((row) => row[2])])
})

t.test('a customer that moves to another zone pays what the page says', async (t) => {
  const book = new Book(planOf({ baseFeeMinor: 3_100n, prices: [perMillion('2')] }), { at: '2026-05-01T00:00Z' })
  book.use('2026-05-31T22:00Z', 1_000_000)
  book.use('2026-06-30T19:45Z', 2_000_000)
  book.use('2026-06-30T20:00Z', 3_000_000)
  book.bill()
  book.customer = { ...book.customer, timeZone: 'Asia/Dubai' }
  for (let i = 0; i < 3; i++) {
    book.renew()
    book.bill()
  }
  const text = (ms: number | undefined) => (ms === undefined ? '' : new Date(ms).toISOString().slice(0, 16))
  const rows = book.invoices.map((invoice, i) => [
    String(i + 1),
    text(invoice.period?.start),
    text(invoice.period?.end),
    i === 0 ? '' : amounts(invoice, 'usage'),
    amounts(invoice, 'base-fee'),
    money(invoice.totalMinor, 'EUR')
  ])
  t.same(tableOf('Example: the customer moves to another zone'), rows)
})

t.test('a grant that expires in mid-period pays what the page says', async (t) => {
  const book = new Book(planOf({ baseFeeMinor: 2_000n, prices: [perMillion('2')] }), { at: '2026-05-01T00:00Z' })
  const { id: customerId } = book.customer
  const start = Date.parse('2026-05-01T00:00Z')
  book.grants = [
    {
      id: 'grant-1',
      customerId,
      amount: { kind: 'money', amountMinor: 7_000n, currency: 'EUR' },
      priority: 1,
      source: 'promotion',
      effectiveAt: start,
      expiresAt: Date.parse('2026-06-20T00:00Z'),
      limitId: null,
      revokedAt: null,
      burnt: 0n,
      settledUntil: null,
      version: 1,
      createdAt: start,
      updatedAt: start
    }
  ]
  for (const at of ['2026-05-12T12:00Z', '2026-06-12T12:00Z']) book.use(at, 5_000_000)
  const rows: string[][] = []
  for (const at of ['1 May', '1 June', '1 July']) {
    if (at !== '1 May') book.renew()
    const invoice = book.bill()
    const left = 7_000n - (book.grants[0]?.burnt ?? 0n)
    const { subtotalMinor = 0n, grantsMinor = 0n, totalMinor = 0n } = invoice ?? {}
    rows.push([at, ...[subtotalMinor, grantsMinor, totalMinor, left].map((amount) => money(amount, 'EUR'))])
  }
  t.same(tableOf('Example: a grant expires in mid-period'), rows)
})

t.test('a trial costs nothing, and the day on which it is ended is paid for whole', async (t) => {
  const plan = planOf({ baseFeeMinor: 3_000n, trialDays: 14, prices: [perMillion('2')] })
  const book = new Book(plan, { at: '2026-06-01T00:00Z' })
  t.equal(book.bill(), null, 'nothing where it begins')
  book.use('2026-06-05T12:00Z', 9_000_000)
  book.use('2026-06-08T09:30Z', 4_000_000)
  book.activate('2026-06-08T10:05Z')
  book.use('2026-06-08T10:00Z', 1_000_000)
  t.match(book.bill(), { totalMinor: 3_000n, lines: [{ kind: 'base-fee', reason: 'advance' }] })
  book.renew()
  t.match(book.bill(), { lines: [{ kind: 'usage', quantity: 1_000_000n, amountMinor: 200n }, { kind: 'base-fee' }] })
})

t.test('no fee is due for the days of a pause, nor for a period that begins in one', async (t) => {
  const book = new Book(planOf({ baseFeeMinor: 3_000n }), { at: '2026-06-01T00:00Z' })
  book.bill()
  book.turn(pause, '2026-06-16T12:00Z')
  book.renew()
  t.match(book.bill(), { totalMinor: -1_500n, lines: [{ kind: 'base-fee', reason: 'credit' }] })
  book.turn(resume, '2026-07-17T12:00Z')
  book.renew()
  t.match(book.bill(), {
    lines: [
      { reason: 'charge', amountMinor: 1_452n },
      { reason: 'advance', amountMinor: 3_000n }
    ]
  })
})
