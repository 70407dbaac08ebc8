// `npm run billing` as an operator starts it, with the gate it has in production: a log without records, an empty ClickHouse, and a
// meter that knows nobody. Base fees may be billed; usage that stands in the ledger alone may not.

import { spawn } from 'node:child_process'
import { randomUUIDv7 } from 'node:crypto'
import { once } from 'node:events'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { quarterOf } from '../../domain/tokens/quarter-hour.ts'
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
const STOPPED_EXIT_CODE = 3
/** Each command is a process of its own: what one has compiled need not be compiled again. */
const COMPILE_CACHE = join(projectFolder(), '.stack', 'compile-cache')
const urls = serviceUrls()
const { topic } = await freshTopic(t)
const clickhouse = await freshClickHouse(t)
const meter = await freshMeter(t)

interface Operator {
  readonly service: BillingService
  readonly queue: BillingQueue
  readonly environment: Readonly<Record<string, string | undefined>>
  /** `npm run billing -- …` on the stores of the service. */
  billing(...args: readonly string[]): Promise<ProgramRun>
}

const PROGRAM = ['stack/bootstrap.mjs', 'billing'] as const

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
    BILLING_TAX_RATES: 'SN:18,TN:19:inclusive',
    BILLING_QUEUE_PREFIX: prefix
  }
  return {
    service,
    queue,
    environment,
    billing: (...args) => runProgram(process.execPath, [...PROGRAM, ...args], { environment })
  }
}

t.test('a run bills what is due at its instant, once, by terms that it tells before, and says how fast', async (t) => {
  const { service, billing } = await operatorOf(t)
  const plan = await addPlan(service, { baseFeeMinor: 700n })
  const [first] = [
    await service.subscribe(await addCustomer(service), plan),
    await service.subscribe(await addCustomer(service), plan),
    await service.subscribe(await addCustomer(service), plan)
  ]
  const asOf = (hours: number) => ['run', '--as-of', new Date(MARCH_10 + hours * HOUR_MS).toISOString()]
  t.match(await billing(...asOf(1)), { exitCode: 0, stdout: /^0 invoiced, 0 empty, 0 parked/ }, 'within the grace')
  t.match(await billing(...asOf(3), '--subscription', 'nobody'), { exitCode: 1, stderr: /nobody is no subscription/ })
  const one = await billing(...asOf(3), '--subscription', first.id, '--json')
  t.match(
    one.stderr,
    /taxes +SN 18 %, TN 19 % inclusive\n +issuer +Tokenmeter\n +numbers +INV-…, finalized at once\n +grace +120 min\n/
  )
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
  const ahead = ['run', '--as-of', new Date(Date.now() + DAY_MS).toISOString()]
  t.match(await billing(...ahead), { exitCode: 1, stdout: '', stderr: /in the future: --even-in-the-future/ })
  t.match(await billing(...ahead, '--even-in-the-future'), { exitCode: 0, stdout: /^0 invoiced/ })
})

t.test('a run that is stopped with work left says so, with an exit code of its own', async (t) => {
  const { service, environment, billing } = await operatorOf(t)
  const plan = await addPlan(service, { baseFeeMinor: 700n })
  for (let i = 0; i < 6; i++) await service.subscribe(await addCustomer(service), plan)
  const oneByOne = { ...environment, BILLING_BATCH_SIZE: '1', BILLING_CONCURRENCY: '1' }
  const child = spawn(process.execPath, [...PROGRAM, 'run'], { cwd: projectFolder(), env: oneByOne })
  let stderr = ''
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    // Its terms are the first that it says, before it bills anything.
    if (stderr === '') child.kill('SIGINT')
    stderr += text
  })
  const [exitCode] = await once(child, 'close')
  t.equal(exitCode, STOPPED_EXIT_CODE)
  t.match(stderr, /stops after this round\nstopped with work left: [1-6] boundaries were not looked at/)
  t.match(await billing('run'), { exitCode: 0, stdout: /^[1-6] invoiced/ }, 'the next one bills the rest')
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
  const earlier = await billing('run', '--as-of', '2026-04-10T01:00:00Z')
  t.match(earlier, { exitCode: PARKED_EXIT_CODE, stdout: /^0 invoiced, 0 empty, 0 of 1 parked/ }, 'tried since')
  t.match(await billing('status'), {
    stdout: /^due +0\nparked +1 {2}stores-differ: .*\noldest +2026-04-09T22:00:00Z\nlast run +none/
  })
  const told = await billing('parked')
  t.match(told.stdout, new RegExp(`^${subscription.id} of customer ${customer.id}.*: stores-differ\n`))
  t.match(told.stdout, /sonnet input from 2026-03-15T10:00:00Z to .*: ledger 12345, ClickHouse 0\n1 parked\n$/)
  const explained = await billing('parked', '--explain', subscription.id)
  t.match(explained, { exitCode: 0, stdout: /looked at partition 0, offsets 0 to 0: 0 events differ/ })
  const startQuarter = quarterOf(Date.parse('2026-04-01T00:00:00Z'))
  const difference = { counterId: 'customer:total:month', startQuarter, subject: '', ledger: '12345', other: '0' }
  await service.database.query('write', {
    text: `update billing_boundary set reason = $1 where state = 'parked'`,
    values: [JSON.stringify({ code: 'stores-differ', store: 'redis', differences: [difference] })]
  })
  const ofRedis = await billing('parked', '--explain', subscription.id)
  t.match(ofRedis.stdout, /customer:total:month of the window from 2026-04-01T00:00:00Z: npm run rebuild -- --customer/)
})

t.test(
  'a run may be left to the worker, and the facts of Postgres are told though its queue is paused or away',
  async (t) => {
    const { queue, environment, billing } = await operatorOf(t)
    await queue.pause()
    const { jobId } = JSON.parse((await billing('run', '--worker', '--json')).stdout)
    t.match(await queue.getJob(jobId), { name: 'run', data: {} })
    const facts = 'due +0\nparked +0\noldest +none\n'
    t.match(await billing('status'), { exitCode: 0, stdout: new RegExp(`^${facts}queue +paused: .*\nlast run`) })
    const away = { ...environment, BILLING_REDIS_URL: 'redis://127.0.0.1:1/1' }
    t.match(await runProgram(process.execPath, [...PROGRAM, 'status'], { environment: away }), {
      exitCode: 1,
      stdout: new RegExp(`^${facts}$`),
      stderr: /the Redis of the job queue does not answer/
    })
  }
)
