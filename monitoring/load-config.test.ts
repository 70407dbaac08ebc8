import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import {
  allFragments,
  apiVariables,
  clickhouseVariables,
  consumerVariables,
  eventVariables,
  kafkaVariables,
  meterVariables,
  postgresVariables,
  processVariables
} from './config.ts'
import { renderEnvExample } from './env-example.ts'
import { ConfigError, loadConfig, validateOnly } from './load-config.ts'

const EVERYTHING = allFragments.map(([, fragment]) => fragment)
const REQUIRED = {
  KAFKA_BROKERS: 'a:9092,b:9093',
  REDIS_URL: 'redis://r:6379',
  DATABASE_URL: 'postgresql://u:p@d/x',
  CLICKHOUSE_URL: 'http://c:8123',
  API_KEYS: `ia:${'a'.repeat(64)}`
}

function faultsOf(environment: Record<string, string>): readonly string[] {
  try {
    loadConfig(EVERYTHING, environment)
    return []
  } catch (error) {
    if (error instanceof ConfigError) return error.faults
    throw error
  }
}

t.test('what must be set is enough, and the rest has its stated default', async (t) => {
  const config = loadConfig(
    [processVariables, kafkaVariables, eventVariables, meterVariables, postgresVariables, clickhouseVariables],
    REQUIRED
  )
  t.match(config, {
    KAFKA_BROKERS: ['a:9092', 'b:9093'],
    USAGE_PARTITIONS: 8,
    METER_SHARDS: 1,
    METER_KEY_PREFIX: 'tm',
    METER_STALE_AFTER_MS: 15_000,
    ACCEPTANCE_WINDOW_MS: 86_400_000,
    KAFKA_TLS: false,
    LOG_LEVEL: 'info'
  })
  t.equal(config.CRASH_AT, undefined)
  const consumers = loadConfig([consumerVariables, apiVariables], REQUIRED)
  t.same(consumers.CONSUMERS, ['meter', 'analytics', 'audit', 'relay', 'webhooks'])
  t.same(consumers.API_CORS_ORIGINS, [])
})

t.test('a process gets the variables of its fragments and no others', async (t) => {
  t.same(loadConfig([clickhouseVariables], { ...REQUIRED, USAGE_PARTITIONS: 'x', PATH: '/bin' }), {
    CLICKHOUSE_URL: 'http://c:8123',
    CLICKHOUSE_DATABASE: 'tokenmeter'
  })
})

t.test('texts of the environment become numbers, truth values and lists; an empty one counts as not set', async (t) => {
  const config = loadConfig([kafkaVariables, consumerVariables], {
    ...REQUIRED,
    KAFKA_TLS: 'true',
    USAGE_PARTITIONS: '12',
    CONSUMERS: 'analytics',
    FLUSH_INTERVAL_MS: ''
  })
  t.match(config, { KAFKA_TLS: true, USAGE_PARTITIONS: 12, CONSUMERS: ['analytics'], FLUSH_INTERVAL_MS: 1_000 })
})

t.test('every fault is reported at once, by name, with its meaning and without its value', async (t) => {
  const faults = faultsOf({
    ...REQUIRED,
    KAFKA_BROKERS: '',
    REDIS_URL: 'http://user:hunter2@r',
    LOG_LEVEL: 'loud',
    METRICS_PORT: '70000',
    USAGE_PARTITIONS: '8.5',
    ACCEPTANCE_WINDOW_MS: String(2 * 86_400_000),
    CONSUMERS: 'meter,meter',
    CRASH_AT: 'sometimes'
  })
  const names = ['KAFKA_BROKERS', 'REDIS_URL', 'LOG_LEVEL', 'METRICS_PORT', 'USAGE_PARTITIONS', 'CRASH_AT']
  for (const name of [...names, 'ACCEPTANCE_WINDOW_MS', 'CONSUMERS']) {
    t.equal(faults.filter((fault) => fault.startsWith(`${name} `)).length, 1, name)
  }
  t.equal(faults.length, 8)
  t.match(faults.join('\n'), /KAFKA_BROKERS is not set\. Brokers to begin with/)
  t.match(faults.join('\n'), /LOG_LEVEL must be one of fatal, error/)
  t.notMatch(faults.join('\n'), /hunter2/)
})

t.test('variables that contradict each other are faults', async (t) => {
  const contradictions: readonly (readonly [Record<string, string>, RegExp])[] = [
    [{ DUPLICATE_WINDOW_MS: '3600000' }, /ACCEPTANCE_WINDOW_MS .* must not exceed DUPLICATE_WINDOW_MS/],
    [{ USAGE_RETENTION_MS: '86400000' }, /USAGE_RETENTION_MS .* must exceed DUPLICATE_WINDOW_MS/],
    [{ METER_SHARDS: '3' }, /METER_SHARDS \(3\) must divide USAGE_PARTITIONS \(8\)/],
    [{ KAFKA_SASL_USERNAME: 'u' }, /must be set together/],
    [
      { KAFKA_SASL_MECHANISM: 'plain', KAFKA_SASL_USERNAME: 'u', KAFKA_SASL_PASSWORD: 'p' },
      /plain sends the password as it is/
    ]
  ]
  for (const [change, fault] of contradictions) t.match(faultsOf({ ...REQUIRED, ...change }), [fault])
  t.same(faultsOf(REQUIRED), [])
  t.match(faultsOf({ ...REQUIRED, DUPLICATE_WINDOW_MS: String(36 * 86_400_000) }), [/^DUPLICATE_WINDOW_MS must be <= /])
})

t.test('a schedule, a zone or tax rates that can not be meant are faults', async (t) => {
  const faulty = (name: string, value: string) =>
    t.match(faultsOf({ ...REQUIRED, [name]: value }), [new RegExp(`^${name} `)], value)
  for (const pattern of [
    '0 30 2 * * *',
    '30 2 * *',
    '60 2 * * *',
    '0 24 * * *',
    '0 2 0 * *',
    '0 2 30 2 *',
    '0 2 * 13 *',
    '0 2 * * 8'
  ]) {
    faulty('BILLING_SCHEDULE', pattern)
  }
  for (const pattern of [
    'every night',
    '@daily --',
    '5-1 2 * * *',
    '*/0 2 * * *',
    '1,,2 2 * * *',
    '- 2 * * *',
    '0 2 * * MO-FR'
  ]) {
    faulty('BILLING_SCHEDULE', pattern)
  }
  for (const zone of ['Africa/Atlantis', '+01:00', 'UTC+1']) faulty('BILLING_TIME_ZONE', zone)
  for (const rates of ['SN:18,SN:18', 'SN:18,TN:19,SN:20:inclusive']) faulty('BILLING_TAX_RATES', rates)
  for (const pattern of ['30 2 * * *', '*/15 0-6/2 1,15 * *', '5 4 29 FEB *', '5 4 31 2 mon-fri', '0 0 * * 7']) {
    t.same(faultsOf({ ...REQUIRED, BILLING_SCHEDULE: pattern }), [], pattern)
  }
  t.same(faultsOf({ ...REQUIRED, BILLING_TIME_ZONE: 'Africa/Dakar', BILLING_TAX_RATES: 'SN:18,TN:19' }), [])
})

t.test('a configuration can not be changed', async (t) => {
  const config = loadConfig([consumerVariables], {})
  t.throws(() => Object.assign(config, { FLUSH_INTERVAL_MS: 1 }), { name: 'TypeError' })
  t.throws(() => Object.assign(config.CONSUMERS, { 0: 'none' }), { name: 'TypeError' })
})

t.test('--validate is seen, and a faulty configuration ends a process with 1', async (t) => {
  t.ok(validateOnly(['node', 'main.ts', '--validate']))
  t.notOk(validateOnly(['node', 'main.ts']))
  const code = `const { loadConfig } = await import('./monitoring/load-config.ts')
    const { kafkaVariables } = await import('./monitoring/config.ts'); loadConfig([kafkaVariables])`
  const run = (environment: Record<string, string>) =>
    spawnSync(process.execPath, ['--input-type=module', '-e', code], {
      cwd: join(import.meta.dirname, '..'),
      env: environment,
      encoding: 'utf8'
    })
  t.equal(run({ KAFKA_BROKERS: 'a:1' }).status, 0)
  const failed = run({})
  t.equal(failed.status, 1)
  t.match(failed.stderr, /KAFKA_BROKERS is not set/)
})

t.test('.env.example says what config.ts says', async (t) => {
  const file = readFileSync(join(import.meta.dirname, '..', '.env.example'), 'utf8')
  t.equal(file, renderEnvExample())
  for (const fragment of EVERYTHING) {
    for (const name of Object.keys(fragment.properties)) t.match(file, new RegExp(`^# .+\n(# )?${name}=`, 'm'), name)
  }
})

t.test('the values that .env.example shows are valid', async (t) => {
  const shown = [...renderEnvExample().matchAll(/^(?:# )?([A-Z][A-Z0-9_]*)=(.*)$/gm)]
  const environment = Object.fromEntries(shown.map(([, name = '', value = '']) => [name, value]))
  t.same(faultsOf({ ...environment, KAFKA_TLS: 'true' }), [])
})
