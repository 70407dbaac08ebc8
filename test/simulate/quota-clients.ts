/**
 * The API's part of a history: limits are stored, set, renewed and recounted, holds come and go, and each answer to a check is
 * held against what is counted for certain and what at most can be.
 */
import type { HoldOutcome, LimitStanding } from '../../domain/api-ports.ts'
import { RetryableError } from '../../domain/errors.ts'
import { compileLimits } from '../../domain/tokens/compile-limits.ts'
import type { CustomerLimits, Limit } from '../../domain/tokens/limit.ts'
import type { UsageEvent } from '../../domain/tokens/usage-event.ts'
import { RedisQuotaMeter } from '../../meter/quota-meter.ts'
import { CUSTOMERS, HOLDS_PER_CUSTOMER, MODELS, USERS } from './make-log.ts'
import { amountFor, type Caller, randomLimits, windowAt, ZONES } from './plain-limits.ts'
import { type Site, shardsOf } from './processes.ts'
import { redisOf } from './redis-steps.ts'
import type { SimulatedProcess } from './world.ts'

const STALE_AFTER_MS = 3 * 3_600_000
const LEASE_MS = 1_200_000

function quotaMeterOf(site: Site, process: SimulatedProcess): RedisQuotaMeter {
  return new RedisQuotaMeter(shardsOf(site, redisOf(process, site.redis)), { staleAfterMs: STALE_AFTER_MS })
}

/** Stores limits and puts them in force, and finishes what others left undone. */
export function startLimitSetter(site: Site, baseMs: number): SimulatedProcess {
  const { world } = site
  const { random } = world
  return world.start('limits', async (process) => {
    const meter = quotaMeterOf(site, process)
    for (;;) {
      await process.rest(10 + random.below(40))
      try {
        const customerId = random.pick(CUSTOMERS)
        const due = await process.call('take due limits', () => takeDue(site), { failure: null })
        if (due !== null) await putInForce({ site, process, meter }, due)
        else if (world.isChaos && random.happens(0.25)) await meter.recount(customerId)
        else if (world.isChaos) {
          const stored = await process.call(`store limits of ${customerId}`, () => store(site, customerId, baseMs), {
            failure: null
          })
          await putInForce({ site, process, meter }, stored)
        }
      } catch (error) {
        if (!(error instanceof RetryableError)) throw error
      }
    }
  })
}

/** As in Postgres: limits that are stored are due until the meter has them. */
function store(site: Site, customerId: string, baseMs: number): CustomerLimits {
  const { random } = site.world
  const version = (site.postgres.limits.get(customerId)?.limits.version ?? 0) + 1
  const limits = {
    customerId,
    timeZone: random.pick(Object.keys(ZONES)),
    version,
    limits: randomLimits(random, baseMs)
  }
  site.postgres.limits.set(customerId, { limits, renewAt: 0 })
  return limits
}

function takeDue({ world, postgres }: Site): CustomerLimits | null {
  const [found] = [...postgres.limits.values()].filter(({ renewAt }) => renewAt <= world.now)
  if (found === undefined) return null
  postgres.limits.set(found.limits.customerId, { ...found, renewAt: world.now + LEASE_MS })
  return found.limits
}

async function putInForce(
  at: { site: Site; process: SimulatedProcess; meter: RedisQuotaMeter },
  stored: CustomerLimits
): Promise<void> {
  const { site, process, meter } = at
  const { postgres } = site
  const { customerId, version } = stored
  const { compiled, renewAt } = compileLimits(stored, site.world.now)
  await meter.setLimits(compiled)
  await process.call(`renewal of ${customerId}`, () => {
    const kept = postgres.limits.get(customerId)
    if (kept?.limits.version === version) postgres.limits.set(customerId, { limits: kept.limits, renewAt })
  })
}

/** Whether every limit that is stored is in force. */
export function allInForce({ postgres }: Site, lastLeaseMs: number): boolean {
  return [...postgres.limits.values()].every(({ renewAt }) => renewAt > lastLeaseMs)
}

export function startQuotaClient(site: Site): SimulatedProcess {
  const { world } = site
  const { random } = world
  return world.start('quota', async (process) => {
    const meter = quotaMeterOf(site, process)
    for (;;) {
      await process.rest(4 + random.below(12))
      const customerId = random.pick(CUSTOMERS)
      const caller = { userId: random.pick(USERS), model: random.pick(MODELS) }
      if (random.happens(0.5)) {
        const standing = await meter.check({ customerId, ...caller, tokens: null })
        if (standing.known && standing.limits !== null)
          checkBounds(site, { customerId, caller, standing: standing.limits })
        continue
      }
      const outcome = await useHold(meter, process, { customerId, ...caller })
      if (outcome.outcome === 'held') checkBounds(site, { customerId, caller: outcome.hold, standing: outcome.limits })
    }
  })
}

function useHold(
  meter: RedisQuotaMeter,
  { world }: SimulatedProcess,
  by: Caller & { customerId: string }
): Promise<HoldOutcome> {
  const { random } = world
  const { customerId } = by
  const holdId = `hold-${random.below(HOLDS_PER_CUSTOMER)}`
  const tokens = {
    input: 1 + random.below(20),
    cacheRead: 0,
    cacheWrite: 0,
    output: random.below(3) * 50,
    reasoning: 0
  }
  const ttlMs = (5 + random.below(120)) * 60_000
  const dice = random.next()
  if (dice < 0.5) return meter.hold({ ...by, holdId, tokens, ttlMs })
  if (dice < 0.7) return meter.extend({ customerId, holdId, ttlMs, tokens: random.happens(0.5) ? tokens : null })
  return meter.end({ customerId, holdId, how: dice < 0.85 ? 'settle' : 'release', tokens: dice < 0.85 ? tokens : null })
}

/**
 * An answer that is known leaves out nothing that the ledger has, and adds nothing that the log has not. Corrections that are
 * on their way may have been counted or not, so they widen the bounds.
 */
function checkBounds(
  site: Site,
  answer: { customerId: string; caller: Caller; standing: readonly LimitStanding[] }
): void {
  const { customerId, caller, standing } = answer
  const { world, postgres } = site
  const kept = postgres.limits.get(customerId)?.limits
  for (const { id, used, unknown } of standing) {
    const limit = kept?.limits.find((one) => one.id === id)
    if (unknown !== null || limit === undefined || kept === undefined) continue
    // An answer by an older version of the limits may be about other windows.
    if (limit.window.kind === 'period' || limit.window.kind === 'day') continue
    const window = windowAt(limit, kept.timeZone, world.now)
    if (window === null) continue
    const { least, most } = boundsOf(site, limit, { customerId, caller, window })
    if (used < least || used > most)
      world.wrong.push(
        `step ${world.step}: ${customerId} ${id} of ${caller.userId}/${caller.model} says ${used} used, not ${least}–${most}`
      )
  }
}

function boundsOf(
  site: Site,
  limit: Limit,
  of: { customerId: string; caller: Caller; window: { from: number; to: number } }
): { least: number; most: number } {
  let [least, most] = [0, 0]
  for (const { event, isCounted } of possiblyCounted(site, of.customerId)) {
    if (event.occurredAt < of.window.from || event.occurredAt >= of.window.to) continue
    const amount = amountFor(limit, of.caller, event)
    if (isCounted || amount < 0) least += amount
    if (isCounted || amount > 0) most += amount
  }
  return { least, most }
}

/** Everything that arrived, and whether the ledger has it for certain. */
function possiblyCounted(
  { truths, topic, postgres }: Site,
  customerId: string
): { event: UsageEvent; isCounted: boolean }[] {
  const found: { event: UsageEvent; isCounted: boolean }[] = []
  for (const { partition, offset, event } of truths) {
    if (event?.customerId !== customerId || offset >= topic.end(partition)) continue
    const { position, uncounted } = postgres.partition(partition)
    if (!uncounted.has(offset)) found.push({ event, isCounted: offset < position.cursor })
  }
  return found
}
