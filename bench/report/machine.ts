/** On what was measured: the machine, and the version of everything that has a part in the figures. */
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { availableParallelism, cpus, release, totalmem } from 'node:os'
import { basename, join } from 'node:path'
import { connectClickHouse } from '../../clickhouse/connect.ts'
import { connectRedis } from '../../meter/connect.ts'
import { Database } from '../../sql/connect.ts'
import { kafkaJarFolder } from '../../stack/machine/kafka-jars.ts'
import { projectFolder } from '../../stack/machine/native-server.ts'
import { readStackRecord, type ServiceUrls, stackFolder } from '../../stack/services.ts'

export interface Machine {
  readonly cores: number
  readonly processor: string
  readonly memoryGiB: number
  readonly kernel: string
  readonly versions: Readonly<Record<string, string>>
}

const GIB = 1024 ** 3

export async function describeMachine(urls: ServiceUrls): Promise<Machine> {
  const [redis, postgres, clickhouse] = await Promise.all([
    redisVersion(urls.REDIS_URL),
    postgresVersion(urls.DATABASE_URL),
    clickhouseVersion(urls.CLICKHOUSE_URL)
  ])
  return {
    cores: availableParallelism(),
    processor: cpus()[0]?.model.trim() ?? 'unknown',
    memoryGiB: Math.round((totalmem() / GIB) * 10) / 10,
    kernel: release(),
    versions: {
      node: process.versions.node,
      kafkajs: packageVersion('kafkajs'),
      ioredis: packageVersion('ioredis'),
      kafka: kafkaVersion(urls.KAFKA_BROKERS),
      redis,
      postgres,
      clickhouse
    }
  }
}

/** Short; `-dirty` when the work tree is not what was committed; `unknown` where there is no repository. */
export function currentCommit(): string {
  try {
    const commit = git('log', '-1', '--format=%h', '--abbrev=10')
    return git('diff', 'HEAD', '--name-only') === '' ? commit : `${commit}-dirty`
  } catch (error) {
    process.stderr.write(`the commit is not known: ${error instanceof Error ? error.message : String(error)}\n`)
    return 'unknown'
  }
}

function git(...args: string[]): string {
  return execFileSync('git', args, { cwd: projectFolder(), encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] }).trim()
}

function packageVersion(name: string): string {
  const path = join(projectFolder(), 'node_modules', name, 'package.json')
  const { version }: { version: string } = JSON.parse(readFileSync(path, 'utf8'))
  return version
}

/** No request of its protocol tells the broker's release, so it is the one that the stack fetched. */
function kafkaVersion(brokers: string): string {
  const record = readStackRecord(stackFolder())
  if (record?.urls.KAFKA_BROKERS !== brokers) return 'unknown'
  if (record.provider === 'native') return basename(kafkaJarFolder()).replace('kafka-', '')
  const compose = readFileSync(join(projectFolder(), 'docker-compose.yml'), 'utf8')
  return /image: apache\/kafka:(\S+)/.exec(compose)?.[1] ?? 'unknown'
}

async function redisVersion(url: string): Promise<string> {
  const redis = connectRedis({ url, commandTimeoutMs: 5_000, autoPipelining: false })
  try {
    return /redis_version:(\S+)/.exec(await redis.info('server'))?.[1] ?? 'unknown'
  } finally {
    redis.disconnect()
  }
}

async function postgresVersion(databaseUrl: string): Promise<string> {
  const database = new Database({ databaseUrl, applicationName: 'tokenmeter-bench', connectionsMax: 1, role: 'login' })
  try {
    const [row] = await database.query<{ server_version: string }>('ask for the version', {
      text: 'show server_version'
    })
    return row?.server_version ?? 'unknown'
  } finally {
    await database.close()
  }
}

async function clickhouseVersion(url: string): Promise<string> {
  const clickhouse = connectClickHouse({ url, database: 'default' })
  try {
    const answer = await clickhouse.query({ query: 'select version() as version', format: 'JSONEachRow' })
    const [row] = await answer.json<{ version: string }>()
    return row?.version ?? 'unknown'
  } finally {
    await clickhouse.close()
  }
}
