/** One history: a seeded log, the product's processes, chaos for a while, quiet until all is consumed, and the checks. */
import type { Redis } from 'ioredis'
import type { ClickHouse } from './analytics-models.ts'
import { findWrongs } from './check-history.ts'
import { Postgres } from './ledger-model.ts'
import { UsageTopic } from './log-models.ts'
import { makeLog } from './make-log.ts'
import { PARTITIONS, SHARDS, type Site, shardsOf, startAnalytics, startMeter, startRebuild } from './processes.ts'
import { allInForce, startLimitSetter, startQuotaClient } from './quota-clients.ts'
import { Random } from './random.ts'
import { Disasters } from './redis-steps.ts'
import { type SimulatedProcess, World } from './world.ts'

const CHAOS_STEPS = 420
/** Until then what was frozen or overtaken goes on. */
const AFTERMATH_STEPS = 60
const STEPS_MAX = 4_000
const SPAN_MS = 7 * 3_600_000
const HOUR_MS = 3_600_000
/** Midnight of a day on which all histories play. */
const DAY_MS = Date.UTC(2026, 2, 10)

export async function runHistory(
  seed: number,
  redis: Redis,
  tell: ((line: string) => void) | null = null
): Promise<string[]> {
  const history = new History(seed, redis, tell)
  return history.run()
}

class History {
  readonly #site: Site
  readonly #world: World
  readonly #disasters: Disasters
  readonly #baseMs: number
  /** By partition, the process that was started last. */
  readonly #meters: SimulatedProcess[] = []
  #clients: SimulatedProcess[] = []

  constructor(seed: number, redis: Redis, tell: ((line: string) => void) | null) {
    const random = new Random(seed)
    this.#baseMs = DAY_MS + random.below(3) * 4 * HOUR_MS
    const startMs = this.#baseMs - random.below(8) * HOUR_MS - random.below(HOUR_MS)
    const world = new World({ random, startMs, stepMs: Math.ceil(SPAN_MS / CHAOS_STEPS), tell })
    const log = makeLog(random, { partitions: PARTITIONS, startMs, spanMs: SPAN_MS })
    const topic = new UsageTopic(world, log.partitions)
    const postgres = new Postgres(world, topic, SHARDS)
    const clickhouse: ClickHouse = { blocks: new Set(), rows: [] }
    const keyPrefix = `h${seed}`
    this.#world = world
    this.#site = { world, topic, truths: log.truths, postgres, clickhouse, redis, keyPrefix }
    this.#disasters = new Disasters(redis, keyPrefix)
  }

  async run(): Promise<string[]> {
    const world = this.#world
    await this.#disasters.forget()
    for (let partition = 0; partition < PARTITIONS; partition++) {
      this.#meters[partition] = startMeter(this.#site, partition)
      startAnalytics(this.#site, partition)
    }
    this.#startClients()
    for (let i = 0; i < CHAOS_STEPS && world.wrong.length === 0; i++) {
      await this.#upset()
      await world.advance()
    }
    world.isChaos = false
    for (let i = 0; i < AFTERMATH_STEPS && world.wrong.length === 0; i++) await world.advance()
    this.#leaveOneOfEach()
    while (world.wrong.length === 0 && world.step < STEPS_MAX) {
      await world.advance()
      if (world.step % 20 === 0 && this.#hasCaughtUp() && !(await this.#hasCuts())) break
    }
    const wrong = [...world.wrong]
    if (wrong.length === 0 && world.step >= STEPS_MAX) wrong.push(this.#standing())
    for (const process of [...world.processes]) world.end(process)
    if (wrong.length === 0) wrong.push(...(await findWrongs(this.#site)))
    await this.#disasters.forget()
    return wrong
  }

  #startClients(): void {
    this.#clients = [startLimitSetter(this.#site, this.#baseMs), startQuotaClient(this.#site)]
  }

  /** What befalls processes and servers before a step. */
  async #upset(): Promise<void> {
    const { random, processes } = this.#world
    const dice = random.next()
    const shard = random.below(SHARDS)
    const partition = random.below(PARTITIONS)
    if (dice < 0.012) this.#kill(partition)
    else if (dice < 0.022) this.#overtake(partition)
    else if (dice < 0.026) this.#retire(partition)
    else if (dice < 0.036) this.#freeze(random.pick(processes))
    else if (dice < 0.042) this.#upsetAnalytics(partition)
    else if (dice < 0.047) this.#loseSessions(this.#site.postgres.repairer(shard) ?? random.pick(processes))
    else if (dice < 0.05) this.#restartClients()
    else if (dice < 0.052) this.#rebuild(shard)
    else if (dice < 0.055) await this.#befall(`shard ${shard} is emptied`, this.#disasters.empty(shard))
    else if (dice < 0.059) await this.#befall(`shard ${shard} restarts`, this.#disasters.restart(shard))
    else if (dice < 0.0605)
      await this.#befall(`a script on shard ${shard} dies half-way`, this.#disasters.halfWrite(shard))
    else if (dice < 0.075) await this.#befall(`shard ${shard} is saved`, this.#disasters.save(shard))
    else if (dice < 0.087) await this.#befall(`shard ${shard} rolls back`, this.#disasters.rollBack(shard))
  }

  async #befall(what: string, disaster: Promise<unknown>): Promise<void> {
    if ((await disaster) !== false) this.#world.tell(`** ${what}`)
  }

  /** kill -9, and another one begins. */
  #kill(partition: number): void {
    this.#world.tell(`** meter ${partition} is killed`)
    const owner = this.#meters[partition]
    if (owner !== undefined) this.#world.end(owner)
    this.#meters[partition] = startMeter(this.#site, partition)
  }

  /** A rebalance that the old owner does not know of: it goes on as a zombie, maybe frozen for a while. */
  #overtake(partition: number): void {
    this.#world.tell(`** meter ${partition} is overtaken`)
    const owner = this.#meters[partition]
    if (owner !== undefined && this.#world.random.happens(0.5)) this.#freeze(owner)
    this.#meters[partition] = startMeter(this.#site, partition)
  }

  /** A rebalance in good order. */
  #retire(partition: number): void {
    this.#world.tell(`** meter ${partition} is asked to stop`)
    const owner = this.#meters[partition]
    if (owner !== undefined) owner.isStopping = true
    this.#meters[partition] = startMeter(this.#site, partition)
  }

  #freeze(process: SimulatedProcess): void {
    const { random, step } = this.#world
    process.frozenUntil = step + 10 + random.below(80)
    this.#world.tell(`** ${process.name} freezes until ${process.frozenUntil}`)
  }

  #upsetAnalytics(partition: number): void {
    this.#world.tell(`** analytics ${partition} is overtaken`)
    const owner = this.#world.processes.find(({ name }) => name === `analytics ${partition}`)
    if (owner !== undefined && this.#world.random.happens(0.6)) this.#world.end(owner)
    startAnalytics(this.#site, partition)
  }

  /** Its connection to Postgres breaks while it goes on: its advisory locks are free. */
  #loseSessions(process: SimulatedProcess): void {
    this.#world.tell(`** ${process.name} loses its sessions`)
    this.#site.postgres.endSessions(process)
    if (this.#world.random.happens(0.5)) this.#freeze(process)
  }

  #rebuild(shard: number): void {
    this.#world.tell(`** shard ${shard} is built anew`)
    startRebuild(this.#site, shard)
  }

  #restartClients(): void {
    for (const client of this.#clients) this.#world.end(client)
    this.#startClients()
  }

  #leaveOneOfEach(): void {
    const { processes } = this.#world
    for (const process of processes) process.frozenUntil = 0
    for (const process of [...processes])
      if (/^(meter|rebuild)/.test(process.name) && !this.#meters.includes(process)) this.#world.end(process)
  }

  #hasCaughtUp(): boolean {
    const { topic, postgres, world } = this.#site
    if (world.now < topic.lastArrival || !allInForce(this.#site, world.now)) return false
    return postgres.partitions.every(
      ({ position, done }, partition) => position.cursor === topic.end(partition) && done === topic.end(partition)
    )
  }

  async #hasCuts(): Promise<boolean> {
    const shards = shardsOf(this.#site, this.#site.redis)
    for (let shard = 0; shard < SHARDS; shard++) {
      const build = await shards.refresh(shard)
      if (build === '' || (await this.#site.redis.hlen(shards.keys(shard, build).cuts)) > 0) return true
      if ((await this.#site.redis.hget(shards.keys(shard, build).state, 'repairing')) !== '0') return true
    }
    return false
  }

  #standing(): string {
    const { topic, postgres } = this.#site
    const stands = postgres.partitions.map(
      ({ position, done }, i) => `L ${position.cursor}, ClickHouse ${done}, log ${topic.end(i)}`
    )
    return `has not caught up after ${STEPS_MAX} steps: ${stands.join('; ')}`
  }
}
