// `npm run billing` as an operator starts it, with the gate it has in production: a log without records, an empty ClickHouse, and a
// meter that knows nobody. Base fees may be billed; usage that stands in the ledger alone may not.

import { randomUUIDv7 } from 'node:crypto'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { projectFolder } from '../../stack/machine/native-server.ts'
import { billingRedisUrl, serviceUrls } from '../../stack/service-urls.ts'
import { type BillingService, DAY_MS, HOUR_MS, startBillingService } from '../../test/billing/billing-service.ts'
import { freshClickHouse } from '../../test/clickhouse-database.ts'
import { type ProgramRun, runProgram } from '../../test/e2e/run-program.ts'
import { freshMeter } from '../../test/meter-shard.ts'
import { addCustomer, addPlan } from '../../test/plans-and-customers.ts'
import { freshTopic } from '../../test/topics.ts'
import { type BillingQueue, openBillingQueue } from '../queues.ts'

const MARCH_10 = Date.parse('2026-03-10T10:00:00Z')
const PARKED_EXIT_CODE = 2
/** Each command is a process of its own: what one has compiled need not be compiled again. */
const COMPILE_CACHE = join(projectFolder(), '.stack', 'compile-cache')
const urls = serviceUrls()
const { topic } = await freshTopic(t)
const clickhouse = await freshClickHouse(t)
const meter = await freshMeter(t)

interface Operator {
  readonly service: BillingService
  readonly queue: BillingQueue
  /** `npm run billing -- …` on the stores of the service. */
  billing(...args: readonly string[]): Promise<ProgramRun>
}

async function operatorOf(t: Test): Promise<Operator> {
  const service = await startBillingService(t)
  service.setNow(MARCH_10)
  const prefix = `test-${randomUUIDv7()}`
  // Whoever looks at a queue leaves a key of it.
  const queue = openBillingQueue({ redisUrl: billingRedisUrl(urls.REDIS_URL), prefix }, (error) =>
    t.fail(error.message)
  )
  t.teardown(async () => {
    await queue.obliterate({ force: true })
    await queue.close()
  })
  const environment = {
    PATH: process.env.PATH,
    NODE_COMPILE_CACHE: COMPILE_CACHE,
    ...urls,
    DATABASE_URL: service.databaseUrl,
    CLICKHOUSE_DATABASE: clickhouse.database,
    USAGE_TOPIC: topic,
    METER_KEY_PREFIX: meter.shards.installation.keyPrefix,
    BILLING_QUEUE_PREFIX: prefix
  }
  return {
    service,
    queue,
    billing: (...args) => runProgram(process.execPath, ['stack/bootstrap.mjs', 'billing', ...args], { environment })
  }
}

t.test('a run bills what is due at its instant, once, and says how fast', async (t) => {
  const { service, billing } = await operatorOf(t)
  const plan = await addPlan(service, { baseFeeMinor: 700n })
  const [first] = [
    await service.subscribe(await addCustomer(service), plan),
    await service.subscribe(await addCustomer(service), plan),
    await service.subscribe(await addCustomer(service), plan)
  ]
  const asOf = (hours: number) => ['run', '--as-of', new Date(MARCH_10 + hours * HOUR_MS).toISOString()]
  t.match(await billing(...asOf(1)), { exitCode: 0, stdout: /^0 invoiced, 0 empty, 0 parked/ }, 'within the grace')
  const one = await billing(...asOf(3), '--subscription', first.id, '--json')
  t.match(JSON.parse(one.stdout), { invoiced: 1, empty: 0, parked: 0, seconds: Number, invoicesPerSecond: Number })
  t.match(await billing(...asOf(3)), { exitCode: 0, stdout: /^2 invoiced, .* \(\d+ invoices\/s\)$/m })
  const rows = await service.database.query<{ finalized_at: Date }>('read', {
    text: 'select finalized_at from invoice'
  })
  t.same(
    rows.map(({ finalized_at }) => finalized_at.getTime()),
    rows.map(() => MARCH_10 + 3 * HOUR_MS),
    'dated as of then'
  )
  t.match(await billing('run', '--as-of', 'yesterday'), { exitCode: 1, stderr: /yesterday is no RFC 3339 time/ })
})

t.test('what can not be billed is parked, told in words and explained, with an exit code of its own', async (t) => {
  const { service, billing } = await operatorOf(t)
  const customer = await addCustomer(service)
  const prices = [
    {
      pool: 'input',
      model: '*',
      chargeModel: 'per_unit',
      perTokens: 1_000,
      tiers: [{ upTo: null, amount: '2' }],
      includedTokens: 0,
      minimumMinor: 0n,
      effectiveFrom: null
    }
  ] as const
  const subscription = await service.subscribe(customer, await addPlan(service, { baseFeeMinor: 700n, prices }))
  await service.billAt(MARCH_10 + 3 * HOUR_MS)
  await service.use({ customerId: customer.id, at: MARCH_10 + 5 * DAY_MS, tokens: 12_345 })
  const preview = await billing('preview', subscription.id)
  t.match(preview, { exitCode: 0, stdout: /24\.69 EUR {2}12345 input tokens of \*/ })
  await service.billAt(Date.parse('2026-04-09T23:00:00Z'))
  t.match(await billing('run'), { exitCode: PARKED_EXIT_CODE, stdout: /^0 invoiced, 0 empty, 1 parked/ })
  t.match(await billing('status'), {
    stdout: /^due +0\nparked +1 {2}stores-differ: .*\noldest +2026-04-09T22:00:00Z\nlast run +none/
  })
  const told = await billing('parked')
  t.match(told.stdout, new RegExp(`^${subscription.id} of customer ${customer.id}.*: stores-differ\n`))
  t.match(told.stdout, /sonnet input from 2026-03-15T10:00:00Z to .*: ledger 12345, ClickHouse 0\n1 parked\n$/)
  const explained = await billing('parked', '--explain', subscription.id)
  t.match(explained, { exitCode: 0, stdout: /looked at partition 0, offsets 0 to 0: 0 events differ/ })
})

t.test('a run may be left to the worker', async (t) => {
  const { queue, billing } = await operatorOf(t)
  const { jobId } = JSON.parse((await billing('run', '--worker', '--json')).stdout)
  t.match(await queue.getJob(jobId), { name: 'run', data: {} })
})
