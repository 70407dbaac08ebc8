/** The API's side of the meter, for fault tests: it sets limits while usage flows, checks, reserves, and reads what was counted. */
import { type Change, PLATFORM } from '../../domain/change.ts'
import { compileLimits } from '../../domain/tokens/compile-limits.ts'
import type { Limit } from '../../domain/tokens/limit.ts'
import { connectRedis } from '../../meter/connect.ts'
import { RedisMeterReport } from '../../meter/meter-report.ts'
import { RedisQuotaMeter } from '../../meter/quota-meter.ts'
import { installationOf, Shards } from '../../meter/shards.ts'
import { eventVariables, meterVariables, postgresVariables } from '../../monitoring/config.ts'
import { loadConfig } from '../../monitoring/load-config.ts'
import { EntityDatabase } from '../../sql/connect-slonik.ts'
import { PostgresLimitStore } from '../../sql/limit-store.ts'
import { PostgresEffectiveLimits } from '../../sql/subscriptions/effective-limits.ts'

const UNTOLD: Change = { reach: PLATFORM, audit: [], events: [], request: null }

const LEAD_MS = 300_000

export class QuotaSide {
  readonly meter: RedisQuotaMeter
  readonly report: RedisMeterReport
  readonly #store: PostgresLimitStore
  readonly #effective: PostgresEffectiveLimits
  readonly #database: EntityDatabase
  readonly #shards: Shards

  constructor(environment: Readonly<Record<string, string>>) {
    const config = loadConfig([meterVariables, eventVariables, postgresVariables], environment)
    const redis = connectRedis({
      url: config.REDIS_URL,
      commandTimeoutMs: config.REDIS_COMMAND_TIMEOUT_MS,
      autoPipelining: false
    })
    this.#shards = new Shards(redis, installationOf(config, LEAD_MS))
    this.meter = new RedisQuotaMeter(this.#shards, { staleAfterMs: config.METER_STALE_AFTER_MS })
    this.report = new RedisMeterReport(this.#shards)
    this.#database = new EntityDatabase({
      databaseUrl: config.DATABASE_URL,
      applicationName: 'tokenmeter-faults',
      connectionsMax: 1
    })
    this.#store = new PostgresLimitStore(this.#database)
    this.#effective = new PostgresEffectiveLimits(this.#database)
  }

  /** Stores limits and tells the meter, which may be away: a repair brings it what the store has. */
  async setLimits(customerId: string, limits: readonly Limit[]): Promise<void> {
    await this.#store.put({ customerId, timeZone: 'Europe/Paris', limits }, null, UNTOLD)
    const reckoned = await this.#effective.reckon(customerId, Date.now)
    if (reckoned === null) throw new Error(`the limits of ${customerId} were not stored`)
    await this.meter.setLimits(compileLimits(reckoned.effective, Date.now()).compiled)
  }

  /** Whether a repairer has the shard now. */
  async isUnderRepair(): Promise<boolean> {
    return (await this.#shards.redis.hget(this.#shards.keys(0, '').state, 'repairing')) === '1'
  }

  /** The sum of the shard's cursors over all partitions: records that the meter has behind it. */
  async cursors(): Promise<number> {
    const state = await this.#shards.redis.hgetall(this.#shards.keys(0, '').state)
    return Object.entries(state)
      .filter(([field]) => field.startsWith('cursor:'))
      .reduce((sum, [, cursor]) => sum + Number(cursor), 0)
  }

  /** Empties Redis without a restart. */
  async flushAll(): Promise<void> {
    await this.#shards.redis.flushall()
  }

  async close(): Promise<void> {
    this.#shards.redis.disconnect()
    await this.#database.close()
  }
}

/** A hard limit on all tokens of the customer unless told otherwise. */
export function limitOf(change: Partial<Limit> & Pick<Limit, 'id' | 'window' | 'max'>): Limit {
  return { scope: { kind: 'customer' }, measure: { kind: 'total' }, mode: 'hard', whenUnknown: 'deny', ...change }
}

/** A window that no boundary of the calendar cuts in two while a test runs. */
export function windowAroundNow(): Limit['window'] {
  const hourMs = 3_600_000
  const start = Math.floor(Date.now() / hourMs) * hourMs - 4 * hourMs
  return { kind: 'period', boundaries: [start, start + 24 * hourMs, start + 48 * hourMs] }
}
