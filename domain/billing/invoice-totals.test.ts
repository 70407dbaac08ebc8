import assert from 'node:assert/strict'
import fc from 'fast-check'
import t from 'tap'
import { Fraction } from '../../test/rating/second-opinion.ts'
import type { Grant } from '../tokens/grants/grant.ts'
import { sumOf } from './exact-amounts.ts'
import { invoiceTotals, LINE_CLASSES, type TaxRate, type TotalsAsk } from './invoice-totals.ts'

const seed = Number(process.env.SEED ?? Date.now() % 2 ** 31)
const RUNS = Math.max(500, Number(process.env.RATING_RUNS ?? 0) / 10)
t.comment(`SEED=${seed}`)

const AT = Date.parse('2026-07-01T00:00Z')

function grantOf(change: Partial<Grant> & { readonly minor?: bigint } = {}): Grant {
  const { minor = 100n, ...others } = change
  return {
    id: 'grant',
    customerId: 'clinic',
    amount: { kind: 'money', amountMinor: minor, currency: 'EUR' },
    priority: 0,
    source: 'promotion',
    effectiveAt: 0,
    expiresAt: null,
    limitId: null,
    revokedAt: null,
    burnt: 0n,
    settledUntil: null,
    version: 1,
    createdAt: 0,
    updatedAt: 0,
    ...others
  }
}

const anyRate: fc.Arbitrary<TaxRate | null> = fc.option(
  fc.record({ percent: fc.constantFrom('0', '5.5', '18', '18.0', '19.25', '20', '100'), isInclusive: fc.boolean() }),
  { freq: 4 }
)
const anyGrant = fc
  .record({
    minor: fc.bigInt({ min: 1n, max: 60n }),
    burnt: fc.bigInt({ min: 0n, max: 20n }),
    priority: fc.nat(2),
    expiresAt: fc.option(fc.constantFrom(AT - 1, AT, AT + 1)),
    createdAt: fc.nat(2),
    effectiveAt: fc.constantFrom(0, AT, AT + 1)
  })
  .map(({ minor, burnt, ...others }) => ({ ...others, minor: minor + burnt, burnt }))

function anyAsk(amountMax: bigint): fc.Arbitrary<TotalsAsk> {
  const line = fc.record({
    lineClass: fc.constantFrom(...LINE_CLASSES),
    amountMinor: fc.bigInt({ min: -amountMax / 4n, max: amountMax })
  })
  return fc
    .record({
      lines: fc.array(line, { maxLength: 6 }),
      taxRates: fc.record({ 'base-fee': anyRate, usage: anyRate, minimum: anyRate }),
      grants: fc.array(anyGrant, { maxLength: 4 })
    })
    .map(({ grants, ...ask }) => ({
      ...ask,
      grants: grants.map((grant, i) => grantOf({ ...grant, id: `grant-${i}` })),
      currency: 'EUR',
      at: AT
    }))
}

t.test(
  'lines sum to the subtotal, subtotal less grants and tax to the total, and nets and taxes to the total',
  async (t) => {
    t.doesNotThrow(() =>
      fc.assert(
        fc.property(anyAsk(10n ** 15n), (ask) => {
          const totals = invoiceTotals(ask)
          assert.equal(totals.subtotalMinor, sumOf(ask.lines.map(({ amountMinor }) => amountMinor)))
          assert.equal(totals.grantsMinor, sumOf(totals.burns.map(({ amountMinor }) => amountMinor)))
          assert.equal(totals.totalMinor, totals.subtotalMinor - totals.grantsMinor + totals.taxMinor)
          const net = sumOf(totals.taxes.map(({ netMinor }) => netMinor))
          assert.equal(totals.totalMinor, net + totals.taxMinor + totals.includedTaxMinor)
          assert.deepEqual(
            invoiceTotals({ ...ask, lines: ask.lines.toReversed(), grants: ask.grants.toReversed() }),
            totals
          )
        }),
        { seed, numRuns: RUNS }
      )
    )
  }
)

t.test('tax is rounded once per rate, on what its lines come to together', async (t) => {
  let taxed = 0
  t.doesNotThrow(() =>
    fc.assert(
      fc.property(anyAsk(10n ** 6n), (ask) => {
        const { taxes } = invoiceTotals({ ...ask, grants: [] })
        for (const { rate, netMinor, taxMinor } of taxes) {
          const isSame = (other: TaxRate | null) =>
            other?.isInclusive === rate?.isInclusive && Number(other?.percent ?? -1) === Number(rate?.percent ?? -1)
          const sum = sumOf(
            ask.lines.filter((line) => isSame(ask.taxRates[line.lineClass])).map(({ amountMinor }) => amountMinor)
          )
          const percent = Fraction.parse(rate?.percent ?? '0')
          const whole = rate?.isInclusive ? percent.plus(new Fraction(100n)) : new Fraction(100n)
          const size = sum < 0n ? -sum : sum
          const tax = percent.times(size * whole.d, whole.n).rounded()
          assert.equal(taxMinor, sum < 0n ? -tax : tax)
          assert.equal(netMinor, rate?.isInclusive ? sum - taxMinor : sum)
          taxed += Number(taxMinor !== 0n)
        }
      }),
      { seed, numRuns: RUNS }
    )
  )
  t.ok(taxed > RUNS / 4, `${taxed} taxes`)
})

/** One minor unit after the other, each from the first grant that has some left. */
function burnByUnit({ lines, grants }: TotalsAsk): [string, bigint][] {
  const order = grants
    .filter(({ effectiveAt, expiresAt }) => effectiveAt <= AT && (expiresAt ?? AT) >= AT)
    .toSorted(
      (a, b) =>
        a.priority - b.priority ||
        (a.expiresAt ?? 1e15) - (b.expiresAt ?? 1e15) ||
        a.createdAt - b.createdAt ||
        a.id.localeCompare(b.id)
    )
  const burns = new Map<string, bigint>()
  const leftOf = ({ id, amount, burnt }: Grant) =>
    (amount.kind === 'money' ? amount.amountMinor : 0n) - burnt - (burns.get(id) ?? 0n)
  for (let due = sumOf(lines.map(({ amountMinor }) => amountMinor)); due > 0n; due -= 1n) {
    const grant = order.find((those) => leftOf(those) > 0n)
    if (grant !== undefined) burns.set(grant.id, (burns.get(grant.id) ?? 0n) + 1n)
  }
  return [...burns]
}

t.test('grants burn as one minor unit after the other would: by priority, then expiry, then age', async (t) => {
  let burnt = 0
  t.doesNotThrow(() =>
    fc.assert(
      fc.property(anyAsk(60n), (ask) => {
        const burns = invoiceTotals(ask).burns.map(({ grantId, amountMinor }): [string, bigint] => [
          grantId,
          amountMinor
        ])
        assert.deepEqual(burns, burnByUnit(ask))
        burnt += burns.length
      }),
      { seed, numRuns: RUNS }
    )
  )
  t.ok(burnt > RUNS / 4, `${burnt} burns`)
})

t.test('what can not be used is passed over: tokens, another currency, taken back, used up', async (t) => {
  const unusable = [
    grantOf({ amount: { kind: 'tokens', tokens: 1_000 } }),
    grantOf({ amount: { kind: 'money', amountMinor: 100n, currency: 'XOF' } }),
    grantOf({ revokedAt: AT }),
    grantOf({ burnt: 100n })
  ]
  const ask: TotalsAsk = {
    lines: [{ lineClass: 'usage', amountMinor: 1_000n }],
    currency: 'EUR',
    taxRates: { 'base-fee': null, usage: null, minimum: null },
    grants: unusable,
    at: AT
  }
  t.match(invoiceTotals(ask), { burns: [], totalMinor: 1_000n })
  t.match(invoiceTotals({ ...ask, grants: [grantOf({ revokedAt: AT + 1 })] }), { grantsMinor: 100n })
})

t.test('grants are taken off each rate by its share, and never make one owe tax back', async (t) => {
  const totals = invoiceTotals({
    lines: [
      { lineClass: 'base-fee', amountMinor: 300n },
      { lineClass: 'usage', amountMinor: 100n },
      { lineClass: 'minimum', amountMinor: -200n }
    ],
    currency: 'EUR',
    taxRates: {
      'base-fee': { percent: '20', isInclusive: false },
      usage: { percent: '10', isInclusive: false },
      minimum: null
    },
    grants: [grantOf()],
    at: AT
  })
  t.same(
    totals.taxes.map(({ netMinor, taxMinor }) => [netMinor, taxMinor]),
    [
      [-200n, 0n],
      [225n, 45n],
      [75n, 8n]
    ]
  )
  t.equal(totals.totalMinor, 200n - 100n + 53n)
})

t.test('an invoice without lines comes to nothing', async (t) => {
  const none = invoiceTotals({
    lines: [],
    currency: 'EUR',
    taxRates: { 'base-fee': null, usage: null, minimum: null },
    grants: [grantOf()],
    at: AT
  })
  t.match(none, { subtotalMinor: 0n, burns: [], taxes: [], totalMinor: 0n })
})
