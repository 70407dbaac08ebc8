// `--validate` tells an operator before a deployment everything that is wrong with a configuration, and connects to nothing.

import t from 'tap'
import { type ProgramRun, runProgram } from './run-program.ts'

/** Services that nobody runs there: whoever connected would fail. */
const SERVICES = {
  KAFKA_BROKERS: '127.0.0.1:1',
  REDIS_URL: 'redis://127.0.0.1:1',
  DATABASE_URL: 'postgresql://user:hidden-word@127.0.0.1:1/nowhere',
  CLICKHOUSE_URL: 'http://127.0.0.1:1'
}
const API_KEYS = `ia-service:${'0'.repeat(64)}`

function validate(entry: string, variables: Readonly<Record<string, string>>): Promise<ProgramRun> {
  const { PATH } = process.env
  return runProgram(process.execPath, [entry, '--validate'], { environment: { PATH, ...variables } })
}

t.test('a good configuration is accepted by all processes, with no service to be reached', async (t) => {
  t.match(await validate('ingest/main.ts', SERVICES), { exitCode: 0, stderr: '' })
  t.match(await validate('api/main.ts', { ...SERVICES, API_KEYS }), { exitCode: 0, stderr: '' })
  t.match(await validate('billing-job/main.ts', SERVICES), { exitCode: 0, stderr: '' })
})

t.test('the consumers are told every fault at once, by name', async (t) => {
  const { exitCode, stderr } = await validate('ingest/main.ts', {
    ...SERVICES,
    DATABASE_URL: 'mysql://user:hidden-word@127.0.0.1:1/nowhere',
    CONSUMERS: 'billing',
    LOG_LEVEL: 'loud',
    FLUSH_INTERVAL_MS: 'soon',
    ACCEPTANCE_WINDOW_MS: '172800000',
    DUPLICATE_WINDOW_MS: '86400000',
    METER_SHARDS: '3'
  })
  t.equal(exitCode, 1)
  for (const name of [
    'DATABASE_URL',
    'CONSUMERS',
    'LOG_LEVEL',
    'FLUSH_INTERVAL_MS',
    'ACCEPTANCE_WINDOW_MS',
    'METER_SHARDS'
  ]) {
    t.match(stderr, new RegExp(`^  - ${name} `, 'm'))
  }
  t.match(stderr, /has 6 fault/)
  t.notMatch(stderr, /hidden-word/, 'no value is told: it may be a secret')
})

t.test('the API is told every fault at once, by name', async (t) => {
  const { KAFKA_BROKERS: _, ...withoutKafka } = SERVICES
  const { exitCode, stderr } = await validate('api/main.ts', {
    ...withoutKafka,
    API_PORT: '99999',
    API_KEYS: 'ia-service:hidden-word',
    KAFKA_SASL_USERNAME: 'tokenmeter',
    REDIS_URL: 'http://127.0.0.1:1'
  })
  t.equal(exitCode, 1)
  for (const name of ['KAFKA_BROKERS', 'API_PORT', 'API_KEYS', 'REDIS_URL', 'KAFKA_SASL_MECHANISM,']) {
    t.match(stderr, new RegExp(`^  - ${name} `, 'm'))
  }
  t.match(stderr, /has 5 fault/)
  t.notMatch(stderr, /hidden-word/)
})

t.test('the billing worker is told every fault at once, by name', async (t) => {
  const { exitCode, stderr } = await validate('billing-job/main.ts', {
    ...SERVICES,
    BILLING_REDIS_URL: 'http://127.0.0.1:1',
    BILLING_TAX_RATES: 'Senegal:18',
    BILLING_ADJUSTMENT_DAYS: '1',
    ACCEPTANCE_WINDOW_MS: '172800000',
    DUPLICATE_WINDOW_MS: '172800000',
    STRIPE_API_KEY: 'sk_hidden-word'
  })
  t.equal(exitCode, 1)
  for (const name of ['BILLING_REDIS_URL', 'BILLING_TAX_RATES', 'BILLING_ADJUSTMENT_DAYS', 'STRIPE_API_KEY']) {
    t.match(stderr, new RegExp(`^  - ${name} `, 'm'))
  }
  t.match(stderr, /has 4 fault/)
  t.notMatch(stderr, /hidden-word/)
})
