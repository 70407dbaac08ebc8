/** The product's own consumers on a topic that is full already, as `npm start` would run them, in an installation of their own. */
import { once } from 'node:events'
import { connectRedis } from '../../meter/connect.ts'
import { ShardKeys } from '../../meter/keys.ts'
import { Database } from '../../sql/connect.ts'
import { readDone } from '../../stack/installation/await-drained.ts'
import { type Installation, makeInstallation } from '../../stack/installation/make-installation.ts'
import { planConsumer } from '../../stack/processes.ts'
import { Supervisor } from '../../stack/supervisor.ts'
import type { Bench, Reading } from './scenario.ts'
import { SettledGroup } from './settled-group.ts'
import { timeConsumption } from './time-consumption.ts'

export interface ProductRun {
  readonly topic: string
  readonly records: number
  /** Each a process of its own, by name: the consumers that it runs (`meter`, `analytics`). Several may run the same. */
  readonly processes: Readonly<Record<string, string>>
  /** What a record needs to have to be done: counted in Redis, or that and written to the ledger and ClickHouse. */
  readonly until: 'counted' | 'everywhere'
  readonly environment?: Readonly<Record<string, string>>
  /** Servers that the stack does not know, by name: their processor time is told as well. */
  readonly beside?: Readonly<Record<string, number | null>>
  /** True: the processes, all of one group, read their first record when each has its part of the partitions. */
  readonly startsSettled?: boolean
  /** So many records go before the clock starts: code is compiled once a process, not once an event. */
  readonly warmUpRecords?: number
}

export async function runProduct(bench: Bench, run: ProductRun): Promise<Reading> {
  const installation = await makeInstallation(bench.urls, 'bench')
  try {
    return await timeProduct(installation, run)
  } finally {
    await installation.remove()
  }
}

type Environment = Readonly<Record<string, string>>

async function timeProduct(installation: Installation, run: ProductRun): Promise<Reading> {
  const environment: Environment = { ...installation.environment, USAGE_TOPIC: run.topic, ...run.environment }
  const definitions = await Promise.all(
    Object.entries(run.processes).map(([name, consumers]) => planConsumer(name, environment, [consumers]))
  )
  const lines: string[] = []
  const group = run.startsSettled ? await SettledGroup.hold(environment.DATABASE_URL ?? '') : null
  const supervisor = new Supervisor({
    definitions,
    restarts: false,
    onLine: (name, line) => {
      group?.hear(name, line)
      if (!/"level":"(info|debug)"/.test(line)) lines.push(`${name}: ${line}`)
    }
  })
  const meter = watchMeter(environment)
  const stores = watchStores(environment)
  const { warmUpRecords = 0 } = run
  const afterWarmUp = (read: () => Promise<number>) => async () => Math.max(0, (await read()) - warmUpRecords)
  const counted = afterWarmUp(meter.read)
  try {
    for (const { name } of definitions) supervisor.start(name)
    await group?.begin(supervisor.names)
    return await timeConsumption({
      readBegun: counted,
      read: run.until === 'counted' ? counted : afterWarmUp(stores.read),
      records: run.records - warmUpRecords,
      pids: () => ({
        ...Object.fromEntries(supervisor.names.map((name) => [name, supervisor.pidOf(name)])),
        ...run.beside
      })
    })
  } catch (error) {
    throw new Error(`the consumers did not get through; they said:\n${lines.join('\n')}`, { cause: error })
  } finally {
    await supervisor.stopAll()
    await Promise.all([meter.close(), stores.close()])
  }
}

interface Progress {
  readonly read: () => Promise<number>
  readonly close: () => Promise<void>
}

/** The cursors that the meter keeps in Redis. */
function watchMeter(environment: Environment): Progress {
  const { REDIS_URL: url = '', METER_KEY_PREFIX: prefix = '', METER_SHARDS: shards = '1' } = environment
  const redis = connectRedis({ url, commandTimeoutMs: 10_000, autoPipelining: false })
  const states = Array.from({ length: Number(shards) }, (_, shard) => new ShardKeys(prefix, shard, '').state)
  return {
    read: async () => {
      // Of a cluster, commands fail until its nodes are known.
      if (redis.status !== 'ready') await once(redis, 'ready')
      let sum = 0
      for (const state of states) {
        for (const [field, value] of Object.entries(await redis.hgetall(state))) {
          if (field.startsWith('cursor:')) sum += Number(value)
        }
      }
      return sum
    },
    close: async () => redis.disconnect()
  }
}

/** How far the slower of ledger and ClickHouse is. */
function watchStores({ DATABASE_URL = '' }: Environment): Progress {
  const database = new Database({
    databaseUrl: DATABASE_URL,
    applicationName: 'tokenmeter-bench',
    connectionsMax: 1,
    role: 'login'
  })
  return {
    read: async () => {
      const { ledger, analytics } = await readDoneSoFar(database)
      return Math.min(ledger, analytics)
    },
    close: () => database.close()
  }
}

/** As `readDone`; before the migrations have run, nothing is done. */
export async function readDoneSoFar(
  database: Database
): Promise<{ readonly ledger: number; readonly analytics: number }> {
  const [made] = await database.query<{ made: boolean }>('look for the ledger', {
    text: `select to_regclass('analytics_partition') is not null as made`
  })
  return made?.made === true ? readDone(database) : { ledger: 0, analytics: 0 }
}
