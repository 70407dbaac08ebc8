/**
 * Kafka, Redis, PostgreSQL and ClickHouse, real ones, from wherever they are to be had: the URLs of the environment, else
 * a Docker engine, else programs of this machine. Calling twice starts nothing twice: what runs and answers is used, what
 * is missing is added.
 */
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { ClickHouseServer } from './clickhouse.ts'
import { KafkaServer } from './kafka.ts'
import {
  isDockerAvailable,
  isRunningInDocker,
  type ServicePorts,
  startWithDocker,
  stopWithDocker
} from './machine/docker.ts'
import { ensureKafkaJars } from './machine/kafka-jars.ts'
import { type NativeServer, projectFolder } from './machine/native-server.ts'
import { ensurePackages } from './machine/packages.ts'
import { findProcess, isRunning, type ProcessIdentity } from './machine/process-identity.ts'
import { waitUntil } from './machine/wait-until.ts'
import { PostgresServer } from './postgres.ts'
import { RedisServer } from './redis.ts'

export interface ServiceUrls {
  KAFKA_BROKERS: string
  REDIS_URL: string
  DATABASE_URL: string
  CLICKHOUSE_URL: string
}

export interface RunningServices {
  urls: ServiceUrls
  /** Whether this call started at least one of them. */
  startedHere: boolean
  /** Stops what this call started, and nothing else. */
  stop(): Promise<void>
}

export interface StartOptions {
  /** Data, logs and records; `.stack` of the project unless told otherwise. */
  folder?: string
  /** False asks no Docker engine. */
  mayUseDocker?: boolean
  onProgress?: (line: string) => void
}

/** What `.stack/stack.json` says: who provides the services and where they are. */
export interface StackRecord {
  provider: 'native' | 'docker'
  urls: ServiceUrls
  services: { name: string; url: string; port: number; pid: number | null }[]
}

const URL_NAMES = ['KAFKA_BROKERS', 'REDIS_URL', 'DATABASE_URL', 'CLICKHOUSE_URL'] as const
const LOCK_TIMEOUT_MS = 300_000

/** What was here before this call is not ours to stop. */
const leaveRunning = async (): Promise<void> => undefined
const ignore = (): void => undefined

export function stackFolder(): string {
  return join(projectFolder(), '.stack')
}

export async function startServices(options: StartOptions = {}): Promise<RunningServices> {
  const { folder = stackFolder(), mayUseDocker = true, onProgress = ignore } = options
  const given = readUrlsFromEnvironment()
  if (given !== null) {
    onProgress('services: given by the environment')
    return { urls: given, startedHere: false, stop: leaveRunning }
  }
  const unlock = await lockFolder(folder, onProgress)
  try {
    const inDocker = mayUseDocker && isDockerAvailable() ? await tryDocker(folder, onProgress) : null
    return inDocker ?? (await startOnThisMachine(folder, onProgress))
  } finally {
    unlock()
  }
}

/** The four servers as they stand on disk, running or not. Without side effects: `status` and `down` use it too. */
export function describeServers(folder: string): {
  [Name in 'kafka' | 'redis' | 'postgres' | 'clickhouse']: NativeServer
} {
  return {
    redis: new RedisServer({ folder }),
    postgres: new PostgresServer({ folder }),
    kafka: new KafkaServer({ folder }),
    clickhouse: new ClickHouseServer({ folder })
  }
}

export function readStackRecord(folder: string): StackRecord | null {
  try {
    return JSON.parse(readFileSync(join(folder, 'stack.json'), 'utf8'))
  } catch {
    return null
  }
}

/** Stops every service that the folder records, whoever started it. */
export async function stopServices({ folder, wipe }: { folder: string; wipe: boolean }): Promise<void> {
  const record = readStackRecord(folder)
  if (record?.provider === 'docker') stopWithDocker(folder, wipe)
  await Promise.all(Object.values(describeServers(folder)).map((server) => (wipe ? server.wipe() : server.stop())))
  rmSync(join(folder, 'stack.json'), { force: true })
}

function readUrlsFromEnvironment(): ServiceUrls | null {
  const [KAFKA_BROKERS, REDIS_URL, DATABASE_URL, CLICKHOUSE_URL] = URL_NAMES.map((name) => process.env[name])
  if (KAFKA_BROKERS && REDIS_URL && DATABASE_URL && CLICKHOUSE_URL) {
    return { KAFKA_BROKERS, REDIS_URL, DATABASE_URL, CLICKHOUSE_URL }
  }
  const given = URL_NAMES.filter((name) => process.env[name])
  if (given.length === 0) return null
  throw new Error(
    `${given.join(', ')} given, but not ${URL_NAMES.filter((name) => !process.env[name]).join(', ')}: give all or none`
  )
}

async function startOnThisMachine(folder: string, onProgress: (line: string) => void): Promise<RunningServices> {
  await ensurePackages(onProgress)
  await ensureKafkaJars(onProgress)
  const servers = describeServers(folder)
  const all = Object.values(servers)
  const results = await Promise.allSettled(all.map((server) => startOne(server, onProgress)))
  const started = all.filter((server) => server.startedHere)
  const stop = async (): Promise<void> => {
    if (started.length === 0) return
    await Promise.all(started.map((server) => server.stop()))
    rmSync(join(folder, 'stack.json'), { force: true })
  }
  const failures = results.filter((result) => result.status === 'rejected').map((result) => result.reason)
  if (failures.length > 0) {
    await stop()
    throw failures.length === 1 ? failures[0] : new AggregateError(failures, failures.map(String).join('\n\n'))
  }
  const urls = {
    KAFKA_BROKERS: servers.kafka.url,
    REDIS_URL: servers.redis.url,
    DATABASE_URL: servers.postgres.url,
    CLICKHOUSE_URL: servers.clickhouse.url
  }
  const services = all.map(({ name, url, port, pid }) => ({ name, url, port, pid }))
  writeStackRecord(folder, { provider: 'native', urls, services })
  return { urls, startedHere: started.length > 0, stop }
}

async function startOne(server: NativeServer, onProgress: (line: string) => void): Promise<void> {
  await server.start()
  const how = server.startedHere ? 'up' : 'was up'
  onProgress(`${server.name}: ${how} on port ${server.port}, process ${server.pid}`)
}

/** An engine that answers may still be unable to fetch the images: then this machine's own programs serve. */
async function tryDocker(folder: string, onProgress: (line: string) => void): Promise<RunningServices | null> {
  try {
    return await startInDocker(folder, onProgress)
  } catch (error) {
    onProgress(
      `services: not from Docker (${error instanceof Error ? error.message : error}); from this machine instead`
    )
    return null
  }
}

async function startInDocker(folder: string, onProgress: (line: string) => void): Promise<RunningServices> {
  const earlier = readStackRecord(folder)
  if (earlier?.provider === 'docker' && isRunningInDocker(folder)) {
    onProgress('services: already up in Docker')
    return { urls: earlier.urls, startedHere: false, stop: leaveRunning }
  }
  onProgress('services: docker compose up')
  const ports = await startWithDocker(folder)
  const urls = {
    KAFKA_BROKERS: `127.0.0.1:${ports.kafka}`,
    REDIS_URL: `redis://127.0.0.1:${ports.redis}`,
    DATABASE_URL: `postgresql://tokenmeter:tokenmeter@127.0.0.1:${ports.postgres}/tokenmeter`,
    CLICKHOUSE_URL: `http://tokenmeter:tokenmeter@127.0.0.1:${ports.clickhouse}`
  }
  const urlByName = {
    kafka: urls.KAFKA_BROKERS,
    redis: urls.REDIS_URL,
    postgres: urls.DATABASE_URL,
    clickhouse: urls.CLICKHOUSE_URL
  }
  const services = Object.entries(ports).map(([name, port]) => ({
    name,
    url: urlByName[name as keyof ServicePorts],
    port,
    pid: null
  }))
  writeStackRecord(folder, { provider: 'docker', urls, services })
  return { urls, startedHere: true, stop: () => stopServices({ folder, wipe: false }) }
}

/** Holds the database's password, so its owner alone may read it. */
function writeStackRecord(folder: string, record: StackRecord): void {
  writeFileSync(join(folder, 'stack.json'), `${JSON.stringify(record, null, 2)}\n`, { mode: 0o600 })
}

/** Two commands at once would each start what the other is starting. A lock whose holder is gone counts for nothing. */
async function lockFolder(folder: string, onProgress: (line: string) => void): Promise<() => void> {
  mkdirSync(folder, { recursive: true })
  const path = join(folder, 'lock.json')
  const self = JSON.stringify(findProcess(process.pid))
  let told = false
  await waitUntil(
    async () => {
      if (tryLock(path, self)) return true
      if (!told) onProgress('services: another command is starting them; waiting')
      told = true
      return false
    },
    { what: `the lock ${path}`, timeoutMs: LOCK_TIMEOUT_MS }
  )
  return () => rmSync(path, { force: true })
}

function tryLock(path: string, self: string): boolean {
  try {
    writeFileSync(path, self, { flag: 'wx' })
    return true
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'EEXIST')) throw error
  }
  if (!isHeld(path)) rmSync(path, { force: true })
  return false
}

function isHeld(path: string): boolean {
  try {
    const holder: ProcessIdentity = JSON.parse(readFileSync(path, 'utf8'))
    return isRunning(holder)
  } catch (error) {
    if (error instanceof SyntaxError) return false
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return false
    throw error
  }
}
