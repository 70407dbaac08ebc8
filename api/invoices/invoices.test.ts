import t from 'tap'
import type { Customer } from '../../domain/customers/customer.ts'
import type { PlanVersion, Price } from '../../domain/subscriptions/plan.ts'
import { pause, resume } from '../../domain/subscriptions/subscription-life-cycle.ts'
import { DAY_MS, HOUR_MS, startBillingService, type Usage } from '../../test/billing/billing-service.ts'
import { addCustomer, addKey, addPlan } from '../../test/plans-and-customers.ts'

const PRICE: Price = {
  pool: 'input',
  model: '*',
  chargeModel: 'per_unit',
  perTokens: 1_000_000,
  tiers: [{ upTo: null, amount: '3' }],
  includedTokens: 0,
  minimumMinor: 0n,
  effectiveFrom: null
}
const MARCH_10 = Date.parse('2026-03-10T10:00:00Z')
const MARCH_20 = Date.parse('2026-03-20T12:00:00Z')
const APRIL_10 = Date.parse('2026-04-09T22:00:00Z')
const MAY_10 = Date.parse('2026-05-09T22:00:00Z')
const BILLED_AT = APRIL_10 + 3 * HOUR_MS

const service = await startBillingService(t)
const { call, database } = service
const plan = await addPlan(service, { baseFeeMinor: 3_000n, prices: [PRICE] })

type Used = Omit<Usage, 'customerId'>

/** Two invoices: the base fee in advance, then the usage with the next fee. */
async function billed(
  usage: readonly Used[] = [{ at: MARCH_10 + DAY_MS, tokens: 12_400_000 }],
  { asDrafts = false, onPlan = plan }: { readonly asDrafts?: boolean; readonly onPlan?: PlanVersion } = {}
) {
  service.setNow(MARCH_10)
  const customer = await addCustomer(service)
  const subscription = await service.subscribe(customer, onPlan)
  for (const used of usage) await service.use({ customerId: customer.id, ...used })
  await service.billAt(BILLED_AT, { terms: { asDrafts } })
  return { customer, subscription, ...(await invoicesOf(customer)) }
}

async function invoicesOf({ id }: Customer) {
  const { body } = await call(`GET /v1/invoices?customerId=${id}`)
  const [first, second] = body.data
  return { first, second, paths: [`/v1/invoices/${first.id}`, `/v1/invoices/${second?.id}`] as const }
}

/** Every row of all pages. */
async function pagesOf(path: string, headers: Record<string, string> = {}) {
  const rows: Record<string, string>[] = []
  for (let cursor = ''; ; ) {
    const { status, body } = await call(`GET ${path}?limit=2&cursor=${encodeURIComponent(cursor)}`, undefined, headers)
    if (status !== 200) throw new Error(`${path}: ${status}`)
    rows.push(...body.data)
    if (!body.hasMore) return rows
    cursor = body.nextCursor
  }
}

function sumOf(rows: readonly Record<string, string>[]): number {
  return rows.reduce((sum, { tokens }) => sum + Number(tokens), 0)
}

async function eventsOf({ id }: Customer): Promise<string[]> {
  const rows = await database.query<{ type: string }>('read the outbox', {
    text: `select type from outbox where customer_id = $1 and type like 'invoice.%' order by position`,
    values: [id]
  })
  return rows.map(({ type }) => type)
}

t.test('a customer reads its own invoices with their lines, and as a PDF; those of others do not exist', async (t) => {
  const { customer, subscription, second, paths } = await billed()
  const headers = await addKey(service, customer.id)
  const listed = await call('GET /v1/invoices', undefined, headers)
  t.match(listed.body.data, [{ totalMinor: '3000' }, { totalMinor: '6720', status: 'finalized', openMinor: '6720' }])
  t.notOk('lines' in listed.body.data[0])
  const { status, body, headers: answered } = await call(`GET ${paths[1]}`, undefined, headers)
  t.match([status, answered.etag], [200, '"1"'])
  t.match(body, { ...second, billTo: { legalName: customer.legalName }, lines: [{ position: 1 }, { position: 2 }] })
  t.match(body.lines[0], { kind: 'usage', amountMinor: '3720', detail: { quantity: '12400000', pool: 'input' } })
  t.same(body.lines[1].detail, { reason: 'advance', planId: plan.id })

  const pdf = await service.app.inject({ url: `${paths[1]}/pdf`, headers })
  t.match([pdf.statusCode, pdf.headers['content-type']], [200, 'application/pdf'])
  t.match(pdf.headers['content-disposition'], `filename="${second.number}.pdf"`)
  t.equal(pdf.rawPayload.subarray(0, 5).toString(), '%PDF-')
  t.ok(pdf.rawPayload.length > 1_000)

  const stranger = await addKey(service, (await billed()).customer.id)
  for (const path of [
    paths[1],
    `${paths[1]}/pdf`,
    `${paths[1]}/lines/1/explain`,
    `${paths[1]}/lines/1/events`,
    `/v1/subscriptions/${subscription.id}/invoice-preview`
  ]) {
    const { status } = await call(`GET ${path}`, undefined, stranger)
    t.equal(status, 404, path)
  }
  t.equal((await call(`GET /v1/invoices?customerId=${customer.id}`, undefined, stranger)).status, 404)
})

t.test('lists are narrowed by subscription and status, page by page', async (t) => {
  const { customer, subscription, first, second, paths } = await billed()
  await call(`POST ${paths[0]}/void`)
  const idsOf = async (query: string) =>
    (await call(`GET /v1/invoices?${query}`)).body.data.map(({ id }: { id: string }) => id)
  t.same(await idsOf(`subscriptionId=${subscription.id}`), [first.id, second.id])
  t.same(await idsOf(`subscriptionId=${subscription.id}&status=void`), [first.id])
  t.same(await idsOf(`customerId=${customer.id}&status=finalized`), [second.id])
  const page = await call(`GET /v1/invoices?customerId=${customer.id}&limit=1`)
  t.match(page.body, { hasMore: true, data: [{ id: first.id }] })
  t.same(await idsOf(`customerId=${customer.id}&limit=1&cursor=${page.body.nextCursor}`), [second.id])
})

t.test('a draft is finalized once: it gets its number and its due date, and others hear of it', async (t) => {
  const { customer, first, paths } = await billed([], { asDrafts: true })
  t.match(first, { status: 'draft', number: null, finalizedAt: null, version: 1 })
  t.match((await call('GET /v1/invoices', undefined, await addKey(service, customer.id))).body.data, [])
  t.equal((await call(`POST ${paths[0]}/finalize`, undefined, { 'if-match': '"7"' })).status, 412)
  const key = { 'idempotency-key': `finalize ${first.id}`.replace(' ', '-') }
  const finalized = await call(`POST ${paths[0]}/finalize`, undefined, { ...key, 'if-match': '"1"' })
  t.match(finalized, { status: 200, headers: { etag: '"2"' }, body: { status: 'finalized', version: 2 } })
  t.match(finalized.body.number, /^INV-\d{6}$/)
  t.match(finalized.body, { finalizedAt: new Date(BILLED_AT).toISOString(), dueAt: new Date(BILLED_AT).toISOString() })
  const repeat = await call(`POST ${paths[0]}/finalize`, undefined, { ...key, 'if-match': '"1"' })
  t.match(repeat, { status: 200, headers: { 'idempotent-replayed': 'true' } })
  t.same(repeat.body, finalized.body)
  const again = await call(`POST ${paths[0]}/finalize`)
  t.match(again, { status: 409, body: { code: 'illegal-transition', reason: 'not-a-draft' } })
  t.same(await eventsOf(customer), ['invoice.finalized'])
  const [due] = await database.query<{ due: boolean }>('read', {
    text: 'select collect_at = due_at as due from invoice where id = $1',
    values: [first.id]
  })
  t.same(due, { due: true }, 'it is collected')
})

t.test('an invoice is voided or given up by the platform, and collected no more', async (t) => {
  const { customer, paths } = await billed()
  t.match(await call(`POST ${paths[0]}/void`), { status: 200, body: { status: 'void', openMinor: '0', version: 2 } })
  t.match(await call(`POST ${paths[0]}/void`), { status: 409, body: { reason: 'not-voidable' } })
  t.match(await call(`POST ${paths[0]}/mark-uncollectible`), { status: 409, body: { reason: 'not-open' } })
  t.match(await call(`POST ${paths[1]}/mark-uncollectible`), { status: 200, body: { status: 'uncollectible' } })
  t.same((await eventsOf(customer)).slice(2), ['invoice.voided', 'invoice.uncollectible'])
  const left = await database.query('read', {
    text: 'select from invoice where customer_id = $1 and collect_at is not null',
    values: [customer.id]
  })
  t.equal(left.length, 0)
  t.equal((await call(`POST ${paths[1]}/void`)).status, 200, 'what was given up may still be voided')
  const headers = await addKey(service, customer.id)
  t.equal((await call(`POST ${paths[1]}/void`, undefined, headers)).status, 403)
})

t.test('the rows behind a usage line sum to its quantity, whatever else was used meanwhile', async (t) => {
  const { customer, subscription } = await pausedAndRepriced()
  const { second, paths } = await invoicesOf(customer)
  t.ok(second)
  const { lines } = (await call(`GET ${paths[1]}`)).body
  const usage = lines.filter(({ kind }: { kind: string }) => kind === 'usage')
  t.ok(usage.length >= 4, 'the pause and the price of a model cut it')
  for (const { position, detail } of usage) {
    const rows = await pagesOf(`${paths[1]}/lines/${position}/explain`)
    t.equal(sumOf(rows), Number(detail.quantity), `line ${position}`)
    t.ok(rows.every(({ pool }) => pool === detail.pool))
    const models = new Set(detail.models.map(({ model }: { model: string }) => model))
    t.same(new Set(rows.map(({ model }) => model)), models)
  }
  const fee = lines.find(({ kind }: { kind: string }) => kind === 'base-fee')
  t.same(await pagesOf(`${paths[1]}/lines/${fee.position}/explain`), [])
  t.match(await call(`GET ${paths[1]}/lines/99/explain`), { status: 404, body: { code: 'unknown-invoice-line' } })
  t.match(await call(`GET ${paths[1]}/lines/1/explain?cursor=x`), { status: 400 })

  await service.use({ customerId: customer.id, at: MARCH_10 + DAY_MS, model: 'opus', tokens: 700 })
  await service.billAt(MAY_10 + 3 * HOUR_MS)
  const { body } = await call(`GET /v1/invoices?subscriptionId=${subscription.id}`)
  const third = `/v1/invoices/${body.data[2].id}` as const
  const [adjustment] = (await call(`GET ${third}`)).body.lines
  t.match(adjustment, { kind: 'adjustment', detail: { differences: [{ model: 'opus', tokens: '700' }] } })
  const own = await addKey(service, customer.id)
  const behind = await pagesOf(`${third}/lines/${adjustment.position}/explain`, own)
  t.equal(sumOf(behind), 3_000 + 5_000 + 700, 'what was invoiced before, and what came since')
})

/** Opus has a price of its own from 20 March on; the subscription is paused for a day, in which something is used all the same. */
async function pausedAndRepriced() {
  const own = { ...PRICE, model: 'opus', tiers: [{ upTo: null, amount: '15' }], effectiveFrom: MARCH_20 } as const
  const onPlan = await addPlan(service, { baseFeeMinor: 3_000n, prices: [PRICE, { ...PRICE, pool: 'output' }, own] })
  service.setNow(MARCH_10)
  const customer = await addCustomer(service)
  const subscription = await service.subscribe(customer, onPlan)
  const used = [
    { at: MARCH_10 + DAY_MS, model: 'opus', tokens: 3_000 },
    { at: MARCH_10 + DAY_MS, model: 'sonnet', tokens: 1_000 },
    { at: MARCH_10 + 2 * DAY_MS, model: 'sonnet', tokens: 20 },
    { at: MARCH_10 + 2 * DAY_MS + HOUR_MS, model: 'sonnet', pool: 'output', tokens: 77 },
    { at: MARCH_10 + 4 * DAY_MS, model: 'sonnet', tokens: 999 },
    { at: MARCH_20 + HOUR_MS, model: 'opus', tokens: 5_000 },
    { at: MARCH_20 + 2 * HOUR_MS, model: 'sonnet', tokens: 40 }
  ] as const
  for (const one of used) await service.use({ customerId: customer.id, ...one })
  service.setNow(MARCH_10 + 4 * DAY_MS - HOUR_MS)
  const paused = await service.turn(pause(subscription, service.now()))
  service.setNow(MARCH_10 + 5 * DAY_MS)
  await service.turn(resume(paused, service.now()))
  await service.billAt(BILLED_AT)
  return { customer, subscription }
}

t.test('a preview says of the running period what its invoice will, and changes nothing', async (t) => {
  service.setNow(MARCH_10)
  const customer = await addCustomer(service)
  const { id } = await service.subscribe(customer, plan)
  const path = `/v1/subscriptions/${id}/invoice-preview` as const
  await service.use({ customerId: customer.id, at: MARCH_10 + DAY_MS, tokens: 4_000_000 })
  service.setNow(MARCH_10 + 2 * DAY_MS)
  await service.use({ customerId: customer.id, at: service.now(), tokens: 2_000_000 })
  const headers = await addKey(service, customer.id)
  const previewed = await call(`GET ${path}`, undefined, headers)
  t.match(previewed, {
    status: 200,
    body: {
      asOf: new Date(service.now()).toISOString(),
      currency: 'EUR',
      totalMinor: '1800',
      lines: [{ kind: 'usage' }]
    }
  })
  t.same((await call(`GET ${path}`)).body, previewed.body)
  await service.billAt(BILLED_AT)
  const { paths } = await invoicesOf(customer)
  const [usage] = (await call(`GET ${paths[1]}`)).body.lines
  const [foretold] = previewed.body.lines
  t.same({ ...usage, to: null }, { ...foretold, to: null })
  await service.use({ customerId: customer.id, at: service.now(), pool: 'reasoning', tokens: 1 })
  t.match(await call(`GET ${path}`), {
    status: 409,
    body: { code: 'unrated-usage', reason: { code: 'unrated-usage' } }
  })
})
