/** An installation of one's own on running services, for the demo and the fault tests: its counts are theirs alone, and it is gone when it ends. */
import { randomBytes } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import kafkajs, { type Admin } from 'kafkajs'
import { connectClickHouse } from '../../clickhouse/connect.ts'
import { createKafka } from '../../ingest/kafkajs/kafka-client.ts'
import { connectRedis } from '../../meter/connect.ts'
import { createLogger } from '../../monitoring/logger.ts'
import { Database } from '../../sql/connect.ts'
import { billingRedisUrl } from '../service-urls.ts'
import type { ServiceUrls } from '../services.ts'

export interface Installation {
  /** For the environment of every process. */
  readonly environment: Readonly<Record<string, string>>
  readonly usageTopic: string
  /** Drops topics, groups, databases and keys. */
  remove(): Promise<void>
}

/** Small, so that a killed consumer's partitions move within seconds. The broker of the stack allows it. */
const SESSION_TIMEOUT_MS = 2_000
const GROUPS_EMPTY_MAX_MS = 40_000

/** `kind` begins the name of everything it makes, `demo` for instance. */
export async function makeInstallation(urls: ServiceUrls, kind: string): Promise<Installation> {
  const name = `${kind}_${randomBytes(4).toString('hex')}`
  const server = new Database({
    databaseUrl: urls.DATABASE_URL,
    applicationName: `tokenmeter-${kind}`,
    connectionsMax: 2,
    role: 'login'
  })
  await server.query('make the database of an installation', { text: `create database ${name}` })
  const databaseUrl = new URL(urls.DATABASE_URL)
  databaseUrl.pathname = `/${name}`
  const environment = {
    ...urls,
    DATABASE_URL: databaseUrl.href,
    CLICKHOUSE_DATABASE: name,
    USAGE_TOPIC: `${name}-usage`,
    DEAD_LETTER_TOPIC: `${name}-dead-letters`,
    EVENTS_TOPIC: `${name}-events`,
    AUDIT_TOPIC: `${name}-audit`,
    KAFKA_GROUP_PREFIX: name,
    METER_KEY_PREFIX: name,
    BILLING_REDIS_URL: billingRedisUrl(urls.REDIS_URL),
    BILLING_QUEUE_PREFIX: name,
    KAFKA_SESSION_TIMEOUT_MS: String(SESSION_TIMEOUT_MS)
  }
  return { environment, usageTopic: environment.USAGE_TOPIC, remove: () => remove(urls, environment, server) }
}

async function remove(
  urls: ServiceUrls,
  environment: Readonly<Record<string, string>>,
  server: Database
): Promise<void> {
  const { CLICKHOUSE_DATABASE: name = '' } = environment
  const topics = new Set(
    Object.entries(environment).flatMap(([variable, value]) => (variable.endsWith('_TOPIC') ? [value] : []))
  )
  const admin = createKafka(
    { brokers: urls.KAFKA_BROKERS.split(','), clientId: name },
    createLogger({ name, level: 'fatal' })
  ).admin()
  await admin.connect()
  // Topics and groups of a consumer that did not run were never made.
  await admin.deleteTopics({ topics: (await admin.listTopics()).filter((topic) => topics.has(topic)) })
  await deleteGroups(admin, `${name}-`)
  await admin.disconnect()
  await server.query('drop the database of an installation', { text: `drop database ${name} with (force)` })
  await server.close()
  const clickhouse = connectClickHouse({ url: urls.CLICKHOUSE_URL, database: 'default' })
  await clickhouse.command({ query: `drop database if exists ${name}` })
  await clickhouse.close()
  await deleteKeys(urls.REDIS_URL, `${name}:*`)
  await deleteKeys(environment.BILLING_REDIS_URL ?? '', `${name}:*`)
}

/** Of one server: what lies on a cluster goes with the cluster, which a test has started for itself. */
export async function deleteKeys(url: string, match: string): Promise<void> {
  const redis = connectRedis({ url, commandTimeoutMs: 5_000, autoPipelining: false })
  if ('scanStream' in redis) {
    for await (const keys of redis.scanStream({ match, count: 1_000 })) {
      if (Array.isArray(keys) && keys.length > 0) await redis.unlink(...keys.map(String))
    }
  }
  redis.disconnect()
}

/** A group has its members until the broker misses them: those of a process that was killed for a session longer. */
async function deleteGroups(admin: Admin, prefix: string): Promise<void> {
  const deadline = Date.now() + GROUPS_EMPTY_MAX_MS
  for (;;) {
    const { groups } = await admin.listGroups()
    try {
      await admin.deleteGroups(groups.map(({ groupId }) => groupId).filter((groupId) => groupId.startsWith(prefix)))
      return
    } catch (error) {
      if (!(error instanceof kafkajs.KafkaJSDeleteGroupsError) || Date.now() > deadline) throw error
      await sleep(500)
    }
  }
}
