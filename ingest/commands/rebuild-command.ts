/**
 * `npm run rebuild -- --customer ID | --shard N | --all`: counts again what the meter holds, from the ledger and the log, while
 * traffic goes on. One customer by a cut under all counters; a shard from empty, under the keys of a new build.
 */
import { Command } from 'commander'
import { DEFAULT_DECODE_LIMITS } from '../../domain/tokens/decode-cloud-event.ts'
import { connectRedis } from '../../meter/connect.ts'
import { RedisMeterRepair } from '../../meter/meter-repair.ts'
import { RedisQuotaMeter } from '../../meter/quota-meter.ts'
import { installationOf, Shards } from '../../meter/shards.ts'
import { eventVariables, kafkaVariables, meterVariables, postgresVariables } from '../../monitoring/config.ts'
import { loadConfig } from '../../monitoring/load-config.ts'
import { createLogger } from '../../monitoring/logger.ts'
import { Database, LONG_STATEMENT_TIMEOUT_MS } from '../../sql/connect.ts'
import { PostgresLedgerRepair } from '../../sql/ledger-repair.ts'
import { decodeUsageEvent } from '../decode-usage-event.ts'
import { createKafka, kafkaAddress } from '../kafkajs/kafka-client.ts'
import { KafkaLogReader } from '../kafkajs/log-reader.ts'
import { repairShard } from '../repair-shard.ts'

const APPLICATION = 'tokenmeter-rebuild'

interface Choice {
  readonly customer?: string
  readonly shard?: number
  readonly all?: boolean
}

export async function runRebuildCommand(args: readonly string[]): Promise<void> {
  const program = new Command('rebuild')
    .description('count again what the meter holds, from the ledger and the log')
    .option('--customer <id>', 'only this customer')
    .option('--shard <number>', 'only this shard', parseShard)
    .option('--all', 'every shard')
    .action(rebuild)
  await program.parseAsync([...args], { from: 'user' })
}

async function rebuild(choice: Choice): Promise<void> {
  const config = loadConfig([kafkaVariables, eventVariables, meterVariables, postgresVariables])
  const logger = createLogger({ name: APPLICATION, level: 'error' })
  const redis = connectRedis({
    url: config.REDIS_URL,
    commandTimeoutMs: config.REDIS_COMMAND_TIMEOUT_MS,
    autoPipelining: false
  })
  const shards = new Shards(redis, installationOf(config, DEFAULT_DECODE_LIMITS.leadMs))
  const database = new Database({
    databaseUrl: config.DATABASE_URL,
    applicationName: APPLICATION,
    statementTimeoutMs: LONG_STATEMENT_TIMEOUT_MS
  })
  const kafka = createKafka(kafkaAddress(config), logger)
  const log = new KafkaLogReader({ kafka, topic: config.USAGE_TOPIC, groupIdPrefix: APPLICATION, logger })
  const decodeLimits = { ...DEFAULT_DECODE_LIMITS, acceptanceWindowMs: config.ACCEPTANCE_WINDOW_MS }
  try {
    if (choice.customer !== undefined) {
      await new RedisQuotaMeter(shards, { staleAfterMs: config.METER_STALE_AFTER_MS }).recount(choice.customer)
      console.log(
        `${choice.customer}: every counter began again; its limits say seeding until the consumers have added what came before`
      )
      return
    }
    const partitions = (await log.ends()).length
    const ledger = new PostgresLedgerRepair({ database, shards: config.METER_SHARDS, partitions })
    const chosen = choice.all ? Array.from({ length: config.METER_SHARDS }, (_, shard) => shard) : [choice.shard]
    for (const shard of chosen) {
      if (shard === undefined) throw new Error('say which: --customer, --shard or --all')
      const outcome = await repairShard(shard, await ledger.generation(shard), {
        meter: new RedisMeterRepair(shards, { fromEmpty: true }),
        ledger,
        log,
        decode: (record) => decodeUsageEvent(record, decodeLimits),
        now: Date.now,
        shards: config.METER_SHARDS,
        partitions
      })
      if (outcome === 'overtaken') throw new Error(`shard ${shard}: another repair came first; look again and repeat`)
      console.log(`shard ${shard}: built anew and in force`)
    }
  } finally {
    redis.disconnect()
    await Promise.all([log.close(), database.close()])
  }
}

function parseShard(text: string): number {
  if (!/^\d{1,4}$/.test(text)) throw new Error(`${text} is not the number of a shard`)
  return Number(text)
}
