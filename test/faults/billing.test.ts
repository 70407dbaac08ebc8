// Billing runs killed at any moment and at every named point: each boundary has one invoice, whole, and no number is missing.

import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import t from 'tap'
import type { Price } from '../../domain/subscriptions/plan.ts'
import { Random } from '../../stack/demo/random.ts'
import { projectFolder } from '../../stack/machine/native-server.ts'
import { type BillingService, startBillingService } from '../billing/billing-service.ts'
import { addCustomer, addPlan } from '../plans-and-customers.ts'

/** One round is CI's size; FAULT_ROUNDS=10 kills 100 times. */
const ROUNDS = Number(process.env.FAULT_ROUNDS ?? 1)
const RANDOM_KILLS = 5
const SUBSCRIPTIONS = 100
const POINTS = [
  'before:gate.ledgerBehind:1',
  'after:gate.differences:1',
  'after:gate.differences:2',
  'after:billing.billDue:1',
  'before:billing.billDue:3'
]
const COMPILE_CACHE = join(projectFolder(), '.stack', 'compile-cache')
const MARCH_10 = Date.parse('2026-03-10T10:00:00Z')
const APRIL_10 = Date.parse('2026-04-10T12:00:00Z')
const FEE_MINOR = 3_000
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

for (let round = 1; round <= ROUNDS; round++) {
  t.test(`round ${round}: each boundary is invoiced once, whatever is killed when`, async (t) => {
    const service = await startBillingService(t)
    const random = new Random(round)
    await subscribeAll(service)
    service.setNow(APRIL_10)
    await service.renewAll()
    let kills = 0
    for (const crashAt of POINTS) {
      const { signal } = await ended(startRun(service, { CRASH_AT: crashAt }))
      t.equal(signal, 'SIGKILL', `died at ${crashAt}`)
      kills++
    }
    for (let i = 0; i < RANDOM_KILLS; i++) {
      const run = startRun(service)
      await afterRounds(run, random.below(4))
      // Within a round, most of the time: they take some ten milliseconds.
      run.kill('SIGKILL')
      if ((await ended(run)).signal === 'SIGKILL') kills++
    }
    const [left] = await service.database.query<{ left: number }>('count', {
      text: `select count(*)::integer as left from billing_boundary where state = 'due'`
    })
    t.ok((left?.left ?? 0) > 0, `${left?.left} boundaries were still due after the last kill`)
    t.equal((await ended(startRun(service))).code, 0, 'the last run ends what they have left')
    t.equal(kills, POINTS.length + RANDOM_KILLS)
    t.same(await faultsOf(service), [])
    t.comment(`${kills} SIGKILLs, ${SUBSCRIPTIONS * 2} invoices`)
  })
}

async function subscribeAll(service: BillingService): Promise<void> {
  service.setNow(MARCH_10)
  const plan = await addPlan(service, { baseFeeMinor: BigInt(FEE_MINOR), prices: [PRICE] })
  for (let i = 0; i < SUBSCRIPTIONS; i++) {
    const customer = await addCustomer(service)
    await service.subscribe(customer, plan)
    await service.use({ customerId: customer.id, at: MARCH_10, tokens: 1_000_000 })
  }
}

function startRun(service: BillingService, environment: Readonly<Record<string, string>> = {}): ChildProcess {
  const { databaseUrl } = service
  return spawn(process.execPath, [join(import.meta.dirname, 'billing-runner.ts')], {
    env: {
      ...process.env,
      NODE_COMPILE_CACHE: COMPILE_CACHE,
      DATABASE_URL: databaseUrl,
      AS_OF: String(APRIL_10),
      ...environment
    },
    stdio: ['ignore', 'pipe', 'inherit']
  })
}

async function ended(run: ChildProcess): Promise<{ readonly code: number | null; readonly signal: string | null }> {
  if (run.exitCode === null && run.signalCode === null) await once(run, 'exit')
  return { code: run.exitCode, signal: run.signalCode }
}

/** It has written so many rounds, and is in the next one. */
async function afterRounds(run: ChildProcess, rounds: number): Promise<void> {
  if (run.stdout === null) throw new Error('a run without output')
  let seen = 0
  for await (const _ of createInterface({ input: run.stdout })) if (++seen > rounds) return
}

/** What is not as it must be, by SQL alone. */
async function faultsOf({ database }: BillingService): Promise<readonly object[]> {
  const total = FEE_MINOR * 2 + 300
  return database.query('look for faults', {
    text: `
      select 'boundary' as what, subscription_id as id from billing_boundary where state <> 'billed' and kind = 'period'
      union all
      select 'sum of a subscription', subscription_id from invoice group by 1, 2
       having count(*) <> 2 or sum(total_minor) <> ${total}
      union all
      select 'lines of an invoice', invoice.id from invoice left join invoice_line on invoice_id = invoice.id
       group by invoice.id having coalesce(sum(amount_minor), 0) <> invoice.total_minor
      union all
      select 'numbers', 'count ' || count(*) || ', last ' || max(number) from invoice
       having count(distinct number) <> ${SUBSCRIPTIONS * 2}
           or max(number) <> 'INV-${String(SUBSCRIPTIONS * 2).padStart(6, '0')}' or min(number) <> 'INV-000001'
      union all
      select 'events', id from invoice
       where (select count(*) from outbox where type = 'invoice.finalized' and data->>'id' = invoice.id) <> 1
      union all
      select 'records', id from invoice
       where (select count(*) from audit_event where action = 'invoice.finalized' and entity_id = invoice.id) <> 1
      union all
      select 'series', name from invoice_series where last_number <> ${SUBSCRIPTIONS * 2}`
  })
}
