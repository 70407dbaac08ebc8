import fc from 'fast-check'
import t from 'tap'
import { planContentFromJson, planContentToJson } from './plan-json.ts'
import { PRICES_MAX, validatePlan } from './validate-plan.ts'

const seed = Number(process.env.SEED ?? Date.now() % 2 ** 31)
t.comment(`SEED=${seed}`)

const PRICE = {
  pool: 'input',
  model: 'claude-*',
  chargeModel: 'graduated',
  perTokens: 1_000_000,
  tiers: [
    { upTo: 1_000_000, amount: '3' },
    { upTo: 5_000_000, amount: '2.5' },
    { upTo: null, amount: '0.000000000001' }
  ],
  includedTokens: 1_000,
  minimumMinor: '250',
  effectiveFrom: '2026-03-01T00:00:00Z'
}
const LIMIT = {
  id: 'period-total',
  scope: { kind: 'customer' },
  measure: { kind: 'total' },
  window: { kind: 'plan-period' },
  max: 1_000,
  mode: 'hard',
  whenUnknown: 'deny'
}
const PLAN = {
  code: 'clinic-2',
  title: 'Clinic',
  currency: 'XOF',
  interval: 'month',
  baseFeeMinor: '29000',
  trialDays: 14,
  onlyFor: 'institution',
  prices: [PRICE],
  limits: [LIMIT]
}

function faultsOf(change: object): string[] {
  return validatePlan({ ...PLAN, ...change }).map(({ field }) => field)
}

function faultsOfPrice(change: object): string[] {
  return faultsOf({ prices: [{ ...PRICE, ...change }] })
}

t.test('plans pass whole, and without what may be left out', async (t) => {
  t.same(faultsOf({}), [])
  t.same(faultsOf({ onlyFor: null, trialDays: 0, prices: [], limits: [], baseFeeMinor: '0' }), [])
  const { code, title, currency, interval, baseFeeMinor } = PLAN
  t.same(validatePlan({ code, title, currency, interval, baseFeeMinor }), [])
  const { includedTokens, minimumMinor, effectiveFrom, ...price } = PRICE
  t.same(faultsOf({ prices: [{ ...price, chargeModel: 'per_unit', tiers: [{ amount: '12.5' }] }] }), [])
  for (const model of ['*', 'gpt-5', 'gpt-5*']) t.same(faultsOfPrice({ model }), [])
  const windows = ['plan-period', 'month', 'week', 'day', 'hour'].map((kind) => ({ kind }))
  const limits = [...windows, { kind: 'rolling', hours: 5 }].map((window, i) => ({ ...LIMIT, id: `l${i}`, window }))
  t.same(faultsOf({ limits }), [])
})

t.test('every fault of a plan names its field', async (t) => {
  const cases: readonly [object, string][] = [
    [{ code: 'Clinic' }, 'code'],
    [{ code: '' }, 'code'],
    [{ code: 'x'.repeat(65) }, 'code'],
    [{ title: '' }, 'title'],
    [{ title: 'x'.repeat(201) }, 'title'],
    [{ currency: 'EURO' }, 'currency'],
    [{ currency: 'eur' }, 'currency'],
    [{ currency: 'XQQ' }, 'currency'],
    [{ interval: 'week' }, 'interval'],
    [{ baseFeeMinor: 4900 }, 'baseFeeMinor'],
    [{ baseFeeMinor: '-1' }, 'baseFeeMinor'],
    [{ baseFeeMinor: '49.00' }, 'baseFeeMinor'],
    [{ baseFeeMinor: '007' }, 'baseFeeMinor'],
    [{ baseFeeMinor: '1'.repeat(19) }, 'baseFeeMinor'],
    [{ trialDays: 366 }, 'trialDays'],
    [{ trialDays: -1 }, 'trialDays'],
    [{ trialDays: null }, 'trialDays'],
    [{ onlyFor: 'everyone' }, 'onlyFor'],
    [{ prices: {} }, 'prices'],
    [{ prices: null }, 'prices'],
    [{ prices: [7] }, 'prices[0]'],
    [{ limits: {} }, 'limits'],
    [{ limits: [7] }, 'limits[0]'],
    [{ version: 3 }, 'version']
  ]
  for (const [change, field] of cases) t.same(faultsOf(change), [field], JSON.stringify(change))
  for (const body of [null, 7, []]) t.same(validatePlan(body), [{ field: '', message: 'must be an object' }])
})

t.test('every fault of a price names its field', async (t) => {
  const tier = (upTo: unknown, amount: unknown = '1') => ({ upTo, amount })
  const cases: readonly [object, string][] = [
    [{ pool: 'total' }, 'pool'],
    [{ model: '' }, 'model'],
    [{ model: 'gpt*mini' }, 'model'],
    [{ model: '**' }, 'model'],
    [{ model: 'x'.repeat(129) }, 'model'],
    [{ chargeModel: 'flat' }, 'chargeModel'],
    [{ perTokens: 100 }, 'perTokens'],
    [{ perTokens: '1000' }, 'perTokens'],
    [{ tiers: [] }, 'tiers'],
    [{ chargeModel: 'per_unit' }, 'tiers'],
    [{ chargeModel: 'package' }, 'tiers'],
    [{ tiers: [tier(5), tier(5), tier(null)] }, 'tiers[1].upTo'],
    [{ tiers: [tier(0), tier(null)] }, 'tiers[0].upTo'],
    [{ tiers: [tier(null), tier(null)] }, 'tiers[0].upTo'],
    [{ tiers: [tier(1.5), tier(null)] }, 'tiers[0].upTo'],
    [{ tiers: [tier(5)] }, 'tiers[0].upTo'],
    [{ tiers: [tier(null, 1)] }, 'tiers[0].amount'],
    [{ tiers: [tier(null, '-1')] }, 'tiers[0].amount'],
    [{ tiers: [tier(null, '1e3')] }, 'tiers[0].amount'],
    [{ tiers: [tier(null, '.5')] }, 'tiers[0].amount'],
    [{ tiers: [tier(null, '1.')] }, 'tiers[0].amount'],
    [{ tiers: [tier(null, '0.0000000000001')] }, 'tiers[0].amount'],
    [{ tiers: [{ amount: '1', flat: '2' }] }, 'tiers[0].flat'],
    [{ tiers: ['1'] }, 'tiers[0]'],
    [{ includedTokens: -1 }, 'includedTokens'],
    [{ includedTokens: 2 ** 53 }, 'includedTokens'],
    [{ minimumMinor: 250 }, 'minimumMinor'],
    [{ minimumMinor: '-1' }, 'minimumMinor'],
    [{ effectiveFrom: '2026-03-01' }, 'effectiveFrom'],
    [{ effectiveFrom: '2026-03-01T00:07:00Z' }, 'effectiveFrom'],
    [{ effectiveFrom: 1_772_323_200_000 }, 'effectiveFrom'],
    [{ discount: '0.5' }, 'discount']
  ]
  for (const [change, field] of cases) t.same(faultsOfPrice(change), [`prices[0].${field}`], JSON.stringify(change))
})

t.test('no two prices are for one usage, however their time is spelled', async (t) => {
  t.same(faultsOf({ prices: [PRICE, PRICE] }), ['prices[1]'])
  t.same(faultsOf({ prices: [PRICE, { ...PRICE, effectiveFrom: '2026-03-01T01:00:00.000+01:00' }] }), ['prices[1]'])
  t.same(faultsOf({ prices: [null, undefined].map((effectiveFrom) => ({ ...PRICE, effectiveFrom })) }), ['prices[1]'])
  const apart = [{ pool: 'output' }, { model: 'claude-sonnet-*' }, { effectiveFrom: null }]
  t.same(faultsOf({ prices: [PRICE, ...apart.map((change) => ({ ...PRICE, ...change }))] }), [])
  const many = Array.from({ length: PRICES_MAX + 1 }, (_, i) => ({ ...PRICE, model: `m${i}` }))
  t.same(faultsOf({ prices: many }), ['prices'])
  t.same(faultsOf({ prices: many.slice(1) }), [])
})

t.test('every fault of a limit names its field, and a plan knows no boundaries', async (t) => {
  const faultsOfLimit = (change: object) => faultsOf({ limits: [{ ...LIMIT, ...change }] })
  const cases: readonly [object, string][] = [
    [{ max: -1 }, 'max'],
    [{ scope: { kind: 'user' } }, 'scope.userId'],
    [{ window: { kind: 'period', boundaries: [0, 900_000] } }, 'window.kind'],
    [{ window: { kind: 'plan-period', boundaries: [0, 900_000] } }, 'window.boundaries'],
    [{ window: { kind: 'plan-period', hours: 3 } }, 'window.hours'],
    [{ window: { kind: 'year' } }, 'window.kind'],
    [{ window: {} }, 'window.kind'],
    [{ window: { kind: 'rolling', hours: 25 } }, 'window.hours'],
    [{ window: 'month' }, 'window']
  ]
  for (const [change, field] of cases) t.same(faultsOfLimit(change), [`limits[0].${field}`], JSON.stringify(change))
  t.same(faultsOf({ limits: [LIMIT, LIMIT] }), ['limits[1].id'])
  const [fault] = validatePlan({ ...PLAN, limits: [{ ...LIMIT, window: { kind: 'period' } }] })
  t.equal(fault?.message, 'must be one of month, week, day, hour, rolling, plan-period')
})

t.test('all faults are told at once', async (t) => {
  const prices = [{ ...PRICE, pool: '', tiers: [{ upTo: 3, amount: '' }] }]
  t.same(faultsOf({ title: 7, prices, limits: [{ ...LIMIT, max: 0.5 }] }), [
    'title',
    'prices[0].pool',
    'prices[0].tiers[0].amount',
    'prices[0].tiers[0].upTo',
    'limits[0].max'
  ])
})

t.test('whatever comes in, faults come out, and what has none is the same plan when it is read back', async (t) => {
  const piece = fc.oneof(
    fc.jsonValue(),
    fc.constantFrom('0', '1.5', 'month', '*', null, 7, [PRICE], [LIMIT], [{ ...PRICE, model: '*' }, PRICE])
  )
  const change = fc.dictionary(fc.constantFrom(...Object.keys(PLAN), 'extra'), piece, { maxKeys: 3 })
  const priceChange = fc.dictionary(fc.constantFrom(...Object.keys(PRICE)), piece, { maxKeys: 2 })
  let passed = 0
  t.doesNotThrow(() =>
    fc.assert(
      fc.property(change, priceChange, (planPieces, pricePieces) => {
        const plan = { ...PLAN, prices: [{ ...PRICE, ...pricePieces }], ...planPieces }
        if (validatePlan(plan).length > 0) return
        passed++
        const content = planContentFromJson(JSON.parse(JSON.stringify(plan)))
        const again = planContentFromJson(JSON.parse(JSON.stringify(planContentToJson(content))))
        t.strictSame(again, content)
      }),
      { seed, numRuns: 2_000 }
    )
  )
  t.ok(passed > 20, `${passed} of 2000 pass`)
})
