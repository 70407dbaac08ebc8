/** What must be true when a history is over and all has been consumed. It is told from the log, event by event. */
import type { LimitStanding } from '../../domain/api-ports.ts'
import type { CustomerLimits, Limit } from '../../domain/tokens/limit.ts'
import { TOKEN_POOLS, type TokenPools } from '../../domain/tokens/token-pools.ts'
import type { UsageEvent } from '../../domain/tokens/usage-event.ts'
import { markOf } from '../../meter/mark.ts'
import { RedisQuotaMeter } from '../../meter/quota-meter.ts'
import { CUSTOMERS, HOLDS_PER_CUSTOMER, MODELS, type Truth, USERS } from './make-log.ts'
import { amountFor, type Caller, concerns, windowAt } from './plain-limits.ts'
import { SHARDS, type Site, shardsOf } from './processes.ts'
import { directRedis } from './redis-steps.ts'

export async function findWrongs(site: Site): Promise<string[]> {
  const wrong: string[] = []
  const counted = findCounted(site, wrong)
  checkLedger(site, counted, wrong)
  checkClickHouse(site, counted, wrong)
  await checkTotals(site, counted, wrong)
  for (const customerId of CUSTOMERS) {
    const kept = site.postgres.limits.get(customerId)?.limits
    if (kept !== undefined)
      await checkLimits(site, { kept, events: counted.filter((event) => event.customerId === customerId) }, wrong)
  }
  return wrong
}

/** One record of each identity is counted; every other one, and whatever can't be, is left out for the right reason. */
function findCounted(site: Site, wrong: string[]): UsageEvent[] {
  const byIdentity = new Map<string, (Truth & { event: UsageEvent })[]>()
  for (const truth of site.truths) {
    const { partition, offset, event, reason } = truth
    if (event === null) {
      checkLeftOut(site, { partition, offset, reason: reason ?? 'none' }, wrong)
      continue
    }
    const identity = JSON.stringify([event.customerId, event.source, event.kind, event.id])
    const group = byIdentity.get(identity)
    if (group === undefined) byIdentity.set(identity, [{ ...truth, event }])
    else group.push({ ...truth, event })
  }
  const counted: UsageEvent[] = []
  for (const [identity, group] of byIdentity) {
    const chosen = group.filter(({ partition, offset }) => !site.postgres.partition(partition).uncounted.has(offset))
    const [first] = chosen
    if (first === undefined || chosen.length > 1)
      wrong.push(`${identity} is counted ${chosen.length} times of ${group.length}`)
    for (const { event } of chosen) counted.push(event)
    for (const { partition, offset, event } of group) {
      if (first === undefined || chosen.some((one) => one.partition === partition && one.offset === offset)) continue
      const others = group.filter((one) => one.partition !== partition || one.offset !== offset)
      const noted = site.postgres.partition(partition).uncounted.get(offset)
      const isApt = others.some((other) => isSameContent(other.event, event) === (noted === 'duplicate'))
      // Not always against the one that is counted in the end: the ledger may have passed this record by a verdict on a copy
      // that Redis then lost before the ledger had it, whereupon another copy came first.
      const reason = isApt && noted === 'conflict' ? 'conflict' : 'duplicate'
      checkLeftOut(site, { partition, offset, reason: isApt ? reason : `one of ${others.length + 1} copies` }, wrong)
    }
  }
  return counted
}

/** Two contents in 65,536 have one fingerprint and pass for the same. */
function isSameContent(one: UsageEvent, other: UsageEvent): boolean {
  const isSame =
    one.userId === other.userId &&
    one.model === other.model &&
    TOKEN_POOLS.every((pool) => one.tokens[pool] === other.tokens[pool])
  return isSame || markOf(one, 1).fingerprint === markOf(other, 1).fingerprint
}

function checkLeftOut(
  { postgres, topic }: Site,
  of: { partition: number; offset: number; reason: string },
  wrong: string[]
): void {
  const { partition, offset, reason } = of
  const noted = postgres.partition(partition).uncounted.get(offset)
  if (noted !== reason) wrong.push(`${partition}:${offset} is left out as ${noted ?? 'nothing'}, not as ${reason}`)
  if (reason !== 'duplicate' && !topic.deadLetters.has(`${partition}:${offset}:${reason}`))
    wrong.push(`${partition}:${offset}, ${reason}, is no dead letter`)
}

function checkLedger({ postgres }: Site, counted: readonly UsageEvent[], wrong: string[]): void {
  const rows = postgres.partitions.flatMap((kept) => [...kept.rows.values()])
  const found = sums(
    rows.map((row) => [[row.customerId, row.userId, row.model, row.quarter], { ...row.tokens, events: row.events }])
  )
  const wanted = sums(
    counted.map((event) => [
      [event.customerId, event.userId, event.model, Math.floor(event.occurredAt / 900_000)],
      { ...event.tokens, events: 1 }
    ])
  )
  for (const key of new Set([...found.keys(), ...wanted.keys()])) {
    const [is, should] = [found.get(key) ?? 'nothing', wanted.get(key) ?? 'nothing']
    if (is !== should && !(isZero(is) && isZero(should))) wrong.push(`ledger of ${key}: ${is}, not ${should}`)
  }
}

type Amounts = TokenPools & { readonly events: number }

function sums(rows: readonly (readonly [key: readonly (string | number)[], amounts: Amounts])[]): Map<string, string> {
  const all = new Map<string, number[]>()
  for (const [parts, amounts] of rows) {
    const key = JSON.stringify(parts)
    const before = all.get(key)
    const values = [...TOKEN_POOLS.map((pool) => amounts[pool]), amounts.events]
    all.set(key, before === undefined ? values : before.map((value, i) => value + (values[i] ?? 0)))
  }
  return new Map([...all].map(([key, values]) => [key, values.map((value) => value + 0).join(' ')]))
}

function isZero(text: string): boolean {
  return text === 'nothing' || /^[0 ]+$/.test(text)
}

function checkClickHouse(
  { clickhouse, postgres, truths }: Site,
  counted: readonly UsageEvent[],
  wrong: string[]
): void {
  const places = clickhouse.rows.map(({ partition, offset }) => `${partition}:${offset}`)
  const wanted = truths.filter(
    ({ event, partition, offset }) => event !== null && !postgres.partition(partition).uncounted.has(offset)
  )
  const missing = wanted.filter(({ partition, offset }) => !places.includes(`${partition}:${offset}`))
  for (const { partition, offset } of missing) wrong.push(`${partition}:${offset} is not in ClickHouse`)
  if (new Set(places).size !== places.length || places.length !== counted.length)
    wrong.push(`ClickHouse has ${places.length} rows of ${new Set(places).size} records, not ${counted.length}`)
}

async function checkTotals(site: Site, counted: readonly UsageEvent[], wrong: string[]): Promise<void> {
  const shards = shardsOf(site, site.redis)
  for (const customerId of CUSTOMERS) {
    const shard = shards.of(customerId)
    const keys = shards.keys(shard, await shards.refresh(shard))
    const found = Number((await site.redis.hget(keys.used(customerId), '0@0')) ?? 0)
    let total = 0
    for (const event of counted)
      if (event.customerId === customerId) for (const pool of TOKEN_POOLS) total += event.tokens[pool]
    if (found !== total) wrong.push(`Redis total of ${customerId}: ${found}, not ${total}`)
  }
  for (let shard = 0; shard < SHARDS; shard++) {
    const open = await site.redis.hlen(shards.keys(shard, await shards.refresh(shard)).cuts)
    if (open > 0) wrong.push(`shard ${shard} still has ${open} lines of open cuts`)
  }
}

interface Kept {
  readonly kept: CustomerLimits
  readonly events: readonly UsageEvent[]
}

/** Now, and in the windows before the present ones; and what is held. */
async function checkLimits(site: Site, of: Kept, wrong: string[]): Promise<void> {
  const { customerId, limits, timeZone } = of.kept
  const now = site.world.now
  const held = await liveHolds(site, customerId)
  const before = limits.flatMap((limit) =>
    limit.window.kind === 'rolling' ? [] : [(windowAt(limit, timeZone, now)?.from ?? 0) - 1]
  )
  for (const at of [now, ...new Set(before)]) {
    const meter = new RedisQuotaMeter(shardsOf(site, directRedis(site.world, site.redis)), {
      staleAfterMs: Number.MAX_SAFE_INTEGER,
      now: () => at
    })
    for (const userId of USERS) {
      for (const model of MODELS) {
        const standing = await meter.check({ customerId, userId, model, tokens: null })
        if (!standing.known || standing.limits === null) wrong.push(`${customerId} is ${JSON.stringify(standing)}`)
        else
          for (const limit of limits)
            checkStanding({ ...of, at, now, caller: { userId, model }, held, standing: standing.limits }, limit, wrong)
      }
    }
  }
}

interface Asked extends Kept {
  readonly at: number
  readonly now: number
  readonly caller: Caller
  readonly held: readonly (Caller & { readonly tokens: TokenPools })[]
  readonly standing: readonly LimitStanding[]
}

function checkStanding(asked: Asked, limit: Limit, wrong: string[]): void {
  const { kept, caller, at, now, events, standing } = asked
  const isPast = at < now
  const window = windowAt(limit, kept.timeZone, at)
  const line = standing.find(({ id }) => id === limit.id)
  const name = `${kept.customerId} ${limit.id} of ${caller.userId}/${caller.model}${isPast ? ` at ${new Date(at).toISOString()}` : ''}`
  if (!concerns(limit, caller)) {
    if (line !== undefined) wrong.push(`${name} applies`)
    return
  }
  // Long past windows and quarters are no longer kept.
  if (isPast && (limit.window.kind === 'rolling' || windowAt(limit, kept.timeZone, now)?.from !== at + 1)) return
  if (line === undefined) return void wrong.push(`${name} is unknown to Redis`)
  if (line.max !== limit.max) wrong.push(`${name} is limited to ${line.max}, not ${limit.max}`)
  const unknown = window === null ? 'windows-ran-out' : null
  if (line.unknown !== unknown) wrong.push(`${name} says ${line.unknown}, not ${unknown}`)
  if (window === null) return
  let used = 0
  for (const event of events)
    if (event.occurredAt >= window.from && event.occurredAt < window.to) used += amountFor(limit, caller, event)
  if (line.used !== used) wrong.push(`${name}: ${line.used} used, not ${used}`)
  const held = asked.held.reduce((sum, hold) => sum + (concerns(limit, hold) ? amountFor(limit, caller, hold) : 0), 0)
  if (line.held !== held) wrong.push(`${name}: ${line.held} held, not ${held}`)
}

async function liveHolds(site: Site, customerId: string): Promise<(Caller & { tokens: TokenPools })[]> {
  const meter = new RedisQuotaMeter(shardsOf(site, directRedis(site.world, site.redis)), { staleAfterMs: 0 })
  const live: (Caller & { tokens: TokenPools })[] = []
  for (let i = 0; i < HOLDS_PER_CUSTOMER; i++) {
    const hold = await meter.find(customerId, `hold-${i}`)
    if (hold !== null && (hold.state === 'held' || hold.state === 'settled')) live.push(hold)
  }
  return live
}
