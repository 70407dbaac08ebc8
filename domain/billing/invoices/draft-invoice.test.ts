/** Invoices of subscriptions that change as customers do; the tables are those of docs/billing.md. */
import t from 'tap'
import { count, money, tableOf } from '../../../test/billing/billing-page.ts'
import { Book } from '../../../test/billing/book.ts'
import { planOf } from '../../../test/plans-and-customers.ts'
import type { Price } from '../../subscriptions/plan.ts'
import { pause, resume } from '../../subscriptions/subscription-life-cycle.ts'
import type { Grant } from '../../tokens/grants/grant.ts'
import type { InvoiceContent } from './invoice.ts'

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

const GRANT: Grant = {
  id: 'grant-1',
  customerId: 'c',
  amount: { kind: 'money', amountMinor: 7_000n, currency: 'EUR' },
  priority: 1,
  source: 'promotion',
  effectiveAt: Date.parse('2026-05-01T00:00Z'),
  expiresAt: Date.parse('2026-06-20T00:00Z'),
  limitId: null,
  revokedAt: null,
  burnt: 0n,
  settledUntil: null,
  version: 1,
  createdAt: 0,
  updatedAt: 0
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
  book.grants = [{ ...GRANT, customerId }]
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

t.test('a fee that was voided is neither given back nor asked for again', async (t) => {
  const book = new Book(planOf({ baseFeeMinor: 3_000n, prices: [perMillion('2')] }), { at: '2026-06-01T00:00Z' })
  const first = book.bill()
  book.voided.add(first?.boundary ?? 0)
  book.change(planOf({ baseFeeMinor: 9_000n, prices: [perMillion('2')] }), '2026-06-16T08:15Z')
  book.renew()
  t.match(book.bill(), {
    lines: [
      { reason: 'charge', amountMinor: 4_500n },
      { reason: 'advance', amountMinor: 9_000n }
    ]
  })
})

t.test('usage that was invoiced and voided is not given back when it is taken back as well', async (t) => {
  const book = new Book(planOf({ baseFeeMinor: 0n, prices: [perMillion('2')] }), { at: '2026-06-01T00:00Z' })
  book.use('2026-06-05T00:00Z', 5_000_000)
  book.bill()
  book.renew()
  book.voided.add(book.bill()?.boundary ?? 0)
  book.use('2026-06-05T00:00Z', -4_000_000)
  book.renew()
  t.equal(book.bill(), null)
  book.use('2026-06-05T00:00Z', 6_000_000)
  book.renew()
  t.match(book.bill(), { totalMinor: 400n }, 'what comes beyond it is asked for')
})

t.test('a change in the quarter-hour that was billed already changes the fee where the period begins', async (t) => {
  const book = new Book(planOf({ baseFeeMinor: 1_000n }), { at: '2026-06-01T00:02Z' })
  book.bill()
  book.change(planOf({ baseFeeMinor: 3_000n }), '2026-06-01T00:10Z')
  book.renew()
  t.match(book.bill(), {
    lines: [
      { reason: 'credit', amountMinor: -1_000n },
      { reason: 'charge', amountMinor: 3_000n },
      { reason: 'advance', amountMinor: 3_000n }
    ]
  })
})

t.test('a plan changed within a trial is paid for from its activation on', async (t) => {
  const book = new Book(planOf({ baseFeeMinor: 3_000n, trialDays: 14 }), { at: '2026-06-01T09:00Z' })
  book.change(planOf({ baseFeeMinor: 9_000n, trialDays: 14 }), '2026-06-08T09:05Z')
  book.activate('2026-06-08T10:05Z')
  t.match(book.bill(), { totalMinor: 9_000n, lines: [{ reason: 'advance' }] })
})

t.test('a grant of the day on which a subscription begins pays its first invoice', async (t) => {
  const book = new Book(planOf({ baseFeeMinor: 2_000n }), { at: '2026-05-01T10:20Z' })
  book.grants = [{ ...GRANT, customerId: book.customer.id, effectiveAt: Date.parse('2026-05-01T09:00Z') }]
  t.match(book.bill(), { grantsMinor: 2_000n, totalMinor: 0n })
})
