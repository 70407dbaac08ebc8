/** The meter as the API uses it: checks, holds and limits. A check touches Redis and nothing else. */

import type {
  Hold,
  HoldOutcome,
  LimitMeter,
  LimitStanding,
  MeterUnknown,
  QuotaMeter,
  Standing,
  UsageAsk
} from '../domain/api-ports.ts'
import { RetryableError } from '../domain/errors.ts'
import type { CompiledLimits } from '../domain/tokens/limit.ts'
import { customerHash } from '../domain/tokens/shard.ts'
import type { TokenPools } from '../domain/tokens/token-pools.ts'
import { keptLimits } from './limits-text.ts'
import type { ScriptName } from './scripts.ts'
import type { Shards } from './shards.ts'

export interface QuotaMeterOptions {
  /** Milliseconds after which usage that isn't counted yet makes an answer "can't know". */
  readonly staleAfterMs: number
  /** Milliseconds since the epoch. Redis's own clock unless given; tests give another. */
  readonly now?: () => number
}

/** Id, max, used, held, when it resets, mode, what it says when unknown, why it is unknown, what is asked of it. */
const WORDS_PER_LIMIT = 9
/** Tells the scripts to ask Redis's own clock. */
const REDIS_TIME = ''

export class RedisQuotaMeter implements QuotaMeter, LimitMeter {
  readonly #shards: Shards
  readonly #staleAfterMs: number
  readonly #now: () => number | typeof REDIS_TIME

  constructor(shards: Shards, options: QuotaMeterOptions) {
    this.#shards = shards
    this.#staleAfterMs = options.staleAfterMs
    this.#now = options.now ?? (() => REDIS_TIME)
  }

  check(ask: UsageAsk): Promise<Standing> {
    return this.#standing(ask.customerId, [ask.userId, ask.model, 'call', encodePools(ask.tokens)])
  }

  balance(customerId: string, userId: string, model: string): Promise<Standing> {
    return this.#standing(customerId, [userId, model, 'balance', ''])
  }

  async #standing(
    customerId: string,
    who: readonly [userId: string, model: string, how: 'call' | 'balance', tokens: string]
  ): Promise<Standing> {
    const reply = await this.#ask(customerId, 'meterCheck', [customerHash(customerId), ...who])
    if (typeof reply === 'string') return { known: false, why: reply, limits: [] }
    if (reply[0] === 'none') return { known: true, limits: null }
    const words = String(reply[1]).split('\n')
    const countedUpTo = Number(words[1])
    const limits = decodeStanding(words, 3)
    if (Number(words[0]) - countedUpTo > this.#staleAfterMs) return { known: false, why: 'stale', limits }
    return { known: true, limits, countedUpTo, total: Number(words[2]) }
  }

  async hold(ask: UsageAsk & { tokens: TokenPools; holdId: string; ttlMs: number }): Promise<HoldOutcome> {
    const reply = await this.#ask(ask.customerId, 'meterHold', [
      customerHash(ask.customerId),
      'create',
      ask.holdId,
      ask.ttlMs,
      this.#staleAfterMs,
      encodePools(ask.tokens),
      ask.userId,
      ask.model
    ])
    return decodeHoldOutcome(ask.customerId, reply)
  }

  async extend(change: {
    customerId: string
    holdId: string
    tokens: TokenPools | null
    ttlMs: number
  }): Promise<HoldOutcome> {
    const { customerId } = change
    const reply = await this.#ask(customerId, 'meterHold', [
      customerHash(customerId),
      'extend',
      change.holdId,
      change.ttlMs,
      this.#staleAfterMs,
      encodePools(change.tokens),
      '',
      ''
    ])
    return decodeHoldOutcome(customerId, reply)
  }

  async end(change: {
    customerId: string
    holdId: string
    how: 'settle' | 'release'
    tokens: TokenPools | null
  }): Promise<HoldOutcome> {
    const reply = await this.#ask(change.customerId, 'meterEndHold', [
      change.holdId,
      change.how,
      encodePools(change.tokens),
      this.#staleAfterMs
    ])
    return decodeHoldOutcome(change.customerId, reply)
  }

  async find(customerId: string, holdId: string): Promise<Hold | null> {
    const reply = await this.#ask(customerId, 'meterEndHold', [holdId, 'find', '', 0])
    if (typeof reply === 'string') throw unavailable(this.#shards.of(customerId), reply)
    return reply[1] === '' || reply[1] === undefined ? null : decodeHold(customerId, String(reply[1]))
  }

  async setLimits(limits: CompiledLimits): Promise<void> {
    await this.#setLimits(limits.customerId, JSON.stringify(keptLimits(limits)))
  }

  async recount(customerId: string): Promise<void> {
    await this.#setLimits(customerId, '')
  }

  async #setLimits(customerId: string, limits: string): Promise<void> {
    const shard = this.#shards.of(customerId)
    const { leadMs } = this.#shards.installation
    const reply = await this.#shards.run(shard, 'meterSetLimits', (keys, build) => ({
      keys: keys.ofLimits(customerId),
      args: [build, this.#now(), limits, leadMs, customerId, '']
    }))
    if (reply[0] === 'refused') throw unavailable(shard, 'unrepaired')
  }

  /** The reply of a script of one customer, or why the meter can't know. */
  async #ask(
    customerId: string,
    name: ScriptName,
    args: readonly (string | number)[]
  ): Promise<readonly unknown[] | MeterUnknown> {
    try {
      const reply = await this.#shards.run(this.#shards.of(customerId), name, (keys, build) => ({
        keys: keys.ofCustomer(customerId),
        args: [build, this.#now(), ...args]
      }))
      return reply[0] === 'refused' ? 'unrepaired' : reply
    } catch (error) {
      if (error instanceof RetryableError) return 'unavailable'
      throw error
    }
  }
}

function unavailable(shard: number, why: MeterUnknown): RetryableError {
  return new RetryableError('meter-unavailable', `shard ${shard} of the meter can't be used now: ${why}`)
}

/** Pools in the order of TOKEN_POOLS; empty: keep those that are there. */
function encodePools(tokens: TokenPools | null): string {
  if (tokens === null) return ''
  const { input, cacheRead, cacheWrite, output, reasoning } = tokens
  return `[${input},${cacheRead},${cacheWrite},${output},${reasoning}]`
}

function decodeHold(customerId: string, text: string): Hold {
  const hold: {
    holdId: string
    userId: string
    model: string
    pools: string[]
    state: Hold['state']
    expiresAt: string
  } = JSON.parse(text)
  const [input = 0, cacheRead = 0, cacheWrite = 0, output = 0, reasoning = 0] = hold.pools.map(Number)
  return {
    holdId: hold.holdId,
    customerId,
    userId: hold.userId,
    model: hold.model,
    tokens: { input, cacheRead, cacheWrite, output, reasoning },
    state: hold.state,
    expiresAt: Number(hold.expiresAt)
  }
}

function decodeHoldOutcome(customerId: string, reply: readonly unknown[] | MeterUnknown): HoldOutcome {
  if (typeof reply === 'string') return { outcome: 'unknown', why: reply }
  const outcome = String(reply[0])
  const text = String(reply[1])
  const limits = decodeStanding(reply, 3)
  switch (outcome) {
    case 'held':
    case 'again':
    case 'ended':
      return { outcome, hold: decodeHold(customerId, text), limits }
    case 'conflict':
      return { outcome, hold: decodeHold(customerId, text) }
    case 'exceeded':
      return { outcome: 'refused', binding: String(reply[2]), limits }
    case 'not-found':
    case 'unknown-customer':
      return { outcome }
    case 'unknown':
      return { outcome, why: unknownOf(String(reply[2])) }
    default:
      throw new Error(`the meter answered an outcome of a hold that it doesn't have: ${outcome}`)
  }
}

function unknownOf(word: string): 'stale' | 'seeding' | 'windows-ran-out' {
  if (word === 'stale' || word === 'seeding' || word === 'windows-ran-out') return word
  throw new Error(`the meter can't know for a reason that it doesn't have: ${word}`)
}

function decodeStanding(words: readonly unknown[], from: number): LimitStanding[] {
  const limits: LimitStanding[] = []
  for (let i = from; i + WORDS_PER_LIMIT <= words.length; i += WORDS_PER_LIMIT) {
    const max = Number(words[i + 1])
    const used = Number(words[i + 2])
    const held = Number(words[i + 3])
    const unknown = words[i + 7]
    limits.push({
      id: String(words[i]),
      max,
      used,
      held,
      remaining: Math.max(0, max - used - held),
      resetsAt: Number(words[i + 4]),
      asked: Number(words[i + 8]),
      mode: words[i + 5] === 'soft' ? 'soft' : 'hard',
      whenUnknown: words[i + 6] === 'allow' ? 'allow' : 'deny',
      unknown: unknown === 'seeding' || unknown === 'windows-ran-out' ? unknown : null
    })
  }
  return limits
}
