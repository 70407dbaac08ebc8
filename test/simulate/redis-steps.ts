/**
 * The real Redis as a history sees it: each command of a process is a step of its own, Redis's clock is the history's, and what
 * befalls a server (restarted, emptied, its tail cut off, a script dead half-way) befalls the keys of one shard.
 */
import type { Redis } from 'ioredis'
import type { SimulatedProcess, World } from './world.ts'

const COMMANDS: ReadonlySet<string> = new Set(['hget', 'hset', 'hgetall', 'unlink', 'del'])
/** Scripts that ask for the time: their second argument says it, empty means Redis's own clock. */
const TIMED: ReadonlySet<string> = new Set(['meterCheck', 'meterHold', 'meterEndHold', 'meterSetLimits'])

type Caller = (what: string, run: () => Promise<unknown>) => Promise<unknown>

/** The connection as one process has it. */
export function redisOf(process: SimulatedProcess, redis: Redis): Redis {
  const caller: Caller = (what, run) => process.call(what, run, { failure: connectionClosed })
  return proxied(redis, process.world, caller)
}

/** The connection without any scheduling, for checks when all is done. */
export function directRedis(world: World, redis: Redis): Redis {
  return proxied(redis, world, (_, run) => run())
}

function connectionClosed(): Error {
  return new Error('Connection is closed.')
}

function proxied(redis: Redis, world: World, caller: Caller): Redis {
  return new Proxy(redis, {
    get(target, name) {
      const command: unknown = Reflect.get(target, name, target)
      if (typeof name !== 'string' || typeof command !== 'function') return command
      if (name === 'scanStream') return (options: { match: string }) => scanned(target, options.match, caller)
      if (!name.startsWith('meter') && !COMMANDS.has(name)) return command
      return (...args: unknown[]) =>
        caller(`${name}${told(name, args)}`, () =>
          Reflect.apply(command, target, TIMED.has(name) ? timed(args, world) : args)
        )
    }
  })
}

function timed(args: readonly unknown[], world: World): unknown[] {
  const at = 1 + Number(args[0]) + 1
  return args.map((argument, i) => (i === at && argument === '' ? world.now : argument))
}

function told(name: string, args: readonly unknown[]): string {
  if (!name.startsWith('meter')) return ` ${String(args[0]).split(':').slice(1).join(':')}`
  const state = String(args[1]).split(':')[1]
  const words = args.slice(1 + Number(args[0])).filter((word) => typeof word !== 'object' && String(word).length < 30)
  return ` ${state} ${words.join(' ')}`
}

async function* scanned(redis: Redis, match: string, caller: Caller): AsyncGenerator<unknown> {
  yield await caller('scan', async () => (await redis.keys(match)).sort())
}

const DELETE = `for _, key in ipairs(redis.call('KEYS', ARGV[1] .. '*')) do redis.call('DEL', key) end`
const SAVE = `
  for _, key in ipairs(redis.call('KEYS', ARGV[2] .. '*')) do redis.call('DEL', key) end
  for _, key in ipairs(redis.call('KEYS', ARGV[1] .. '*')) do redis.call('COPY', key, ARGV[2] .. key) end`
const RESTART = `
  local state = ARGV[1] .. 'state'
  if redis.call('EXISTS', state) == 1 then
    redis.call('HSET', state, 'runId', 'gone')
    if redis.call('HEXISTS', state, 'repairRun') == 1 then redis.call('HSET', state, 'repairRun', 'gone') end
  end`
/** Only within one build: no server comes back with what was there before its shard was built anew. */
const ROLL_BACK = `
  local build = redis.call('HGET', ARGV[2] .. ARGV[1] .. 'state', 'build')
  if not build or build ~= redis.call('HGET', ARGV[1] .. 'state', 'build') then return 0 end
  for _, key in ipairs(redis.call('KEYS', ARGV[1] .. '*')) do redis.call('DEL', key) end
  for _, key in ipairs(redis.call('KEYS', ARGV[2] .. '*')) do redis.call('COPY', key, string.sub(key, #ARGV[2] + 1)) end
  ${RESTART}
  return 1`
const HALF_WRITE = `
  local state = ARGV[1] .. 'state'
  if redis.call('HGET', state, 'repairing') ~= '0' then return 0 end
  redis.call('HSET', state, 'dirty', '1')
  for _, key in ipairs(redis.call('KEYS', ARGV[1] .. '*:used:*')) do redis.call('HINCRBY', key, '0@0', 7) end
  return 1`

/** What befalls the servers of an installation. */
export class Disasters {
  readonly #redis: Redis
  readonly #keyPrefix: string

  constructor(redis: Redis, keyPrefix: string) {
    this.#redis = redis
    this.#keyPrefix = keyPrefix
  }

  async empty(shard: number): Promise<void> {
    await this.#redis.eval(DELETE, 0, this.#keys(shard))
  }

  async save(shard: number): Promise<void> {
    await this.#redis.eval(SAVE, 0, this.#keys(shard), `saved:${this.#keyPrefix}:${shard}:`)
  }

  /** Another server process with the same data. */
  async restart(shard: number): Promise<void> {
    await this.#redis.eval(RESTART, 0, this.#keys(shard))
  }

  /** Another server process, with the data as last saved; false when there is none. */
  async rollBack(shard: number): Promise<boolean> {
    return (await this.#redis.eval(ROLL_BACK, 0, this.#keys(shard), `saved:${this.#keyPrefix}:${shard}:`)) === 1
  }

  async halfWrite(shard: number): Promise<boolean> {
    return (await this.#redis.eval(HALF_WRITE, 0, this.#keys(shard))) === 1
  }

  /** Leaves nothing behind. */
  async forget(): Promise<void> {
    await this.#redis.eval(DELETE, 0, `${this.#keyPrefix}:`)
    await this.#redis.eval(DELETE, 0, `saved:${this.#keyPrefix}:`)
  }

  #keys(shard: number): string {
    return `${this.#keyPrefix}:{m${shard}}:`
  }
}
