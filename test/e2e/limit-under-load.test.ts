// A limit that begins in the middle of a window, a counter that is counted anew, a shard that is built anew: all while usage
// flows, and never does a number leave out usage without saying so.

import t, { type Test } from 'tap'
import { waitUntil } from '../../stack/machine/wait-until.ts'
import { npmRun } from './run-program.ts'
import { StandingWatch } from './standing-watch.ts'
import { startSystem } from './start-system.ts'
import { limit } from './usage-envelope.ts'
import { UserTraffic } from './user-traffic.ts'

const HOUR_MS = 3_600_000
const CUSTOMER = 'busy-clinic'
const USERS = Array.from({ length: 12 }, (_, i) => `user-${i}`)
const [SINGLED_OUT = ''] = USERS
const MAX = 1_000_000_000
const ROUNDS = 5
const SEED = 20_260_310

// A day that began about twelve hours ago, wherever that is, so that no midnight falls into the test.
const now = Date.now()
const ahead = 12 - new Date(now).getUTCHours()
const timeZone = `Etc/GMT${ahead > 0 ? `-${ahead}` : `+${-ahead}`}`
const windowStart = Math.floor((now + ahead * HOUR_MS) / (24 * HOUR_MS)) * 24 * HOUR_MS - ahead * HOUR_MS

const system = await startSystem(t)
const { api, ledger, producer } = system
const traffic = new UserTraffic({
  producer,
  topic: system.usageTopic,
  customerId: CUSTOMER,
  users: USERS,
  // Some of it before the window, which must stay out of the counters.
  spreadMs: 16 * HOUR_MS,
  windowStart,
  seed: SEED
})
t.comment(`seed ${SEED}, zone ${timeZone}`)

function dayLimits(max: number): Promise<void> {
  const window = { kind: 'day' }
  const limits = [
    limit('each-user', max, { scope: { kind: 'each-user' }, window }),
    limit(`only-${SINGLED_OUT}`, max, { scope: { kind: 'user', userId: SINGLED_OUT }, window })
  ]
  return api.putLimits(CUSTOMER, limits, timeZone)
}

async function readLedger(): Promise<ReadonlyMap<string, number>> {
  const sums = USERS.map(async (userId) => {
    const tokens = await ledger.tokens({ customerId: CUSTOMER, userId, since: windowStart })
    return [userId, tokens] as const
  })
  return new Map(await Promise.all(sums))
}

/** Traffic flows; `change` begins when the ledger has moved on, and is watched from before it until the limits are known after it. */
async function watchedUnderLoad(change: () => Promise<unknown>): Promise<StandingWatch> {
  const before = await ledger.events(CUSTOMER)
  traffic.start()
  await waitUntil(async () => (await ledger.events(CUSTOMER)) > before + 1_000, {
    what: 'a thousand more events in the ledger',
    timeoutMs: 30_000
  })
  const held = await readLedger()
  const watch = new StandingWatch({
    api,
    customerId: CUSTOMER,
    users: USERS,
    usedAtLeast: (userId) => held.get(userId) ?? 0,
    usedAtMost: (userId) => traffic.sent(userId)
  })
  const sentBefore = traffic.events
  watch.start()
  await change()
  const knownBefore = watch.count('known')
  await waitUntil(async () => (await isKnown()) && watch.count('known') > knownBefore + 50, {
    what: 'limits that are known',
    timeoutMs: 30_000
  })
  t.comment(`${traffic.events - sentBefore} events flowed meanwhile; answers: ${JSON.stringify([...watch.answers])}`)
  await watch.stop()
  await traffic.stop()
  return watch
}

async function isKnown(): Promise<boolean> {
  const each = await api.standing(CUSTOMER, 'each-user', SINGLED_OUT)
  const only = await api.standing(CUSTOMER, `only-${SINGLED_OUT}`)
  return each !== undefined && only !== undefined
}

/** Once drained: each counter is the ledger's sum, which is the sender's own account. */
async function expectExact(t: Test): Promise<void> {
  await system.drained()
  const sums = await readLedger()
  for (const userId of USERS) {
    t.equal(sums.get(userId), traffic.sent(userId), `${userId}: the ledger has what was sent`)
    const standing = await waitUntil(() => api.standing(CUSTOMER, 'each-user', userId), {
      what: userId,
      timeoutMs: 10_000
    })
    t.equal(standing.used, sums.get(userId), `${userId}: used is what the ledger has`)
  }
  const only = await waitUntil(() => api.standing(CUSTOMER, `only-${SINGLED_OUT}`), { what: 'it', timeoutMs: 10_000 })
  t.equal(only.used, sums.get(SINGLED_OUT))
}

t.test('limits added in the middle of a window leave nothing out unsaid, and are exact', async (t) => {
  const watch = await watchedUnderLoad(async () => {
    // A limit that is gone takes its counters with it: when it comes back, it begins like the first time.
    for (let round = 1; round < ROUNDS; round++) {
      await dayLimits(MAX)
      await waitUntil(isKnown, { what: `the limits of round ${round}`, timeoutMs: 15_000 })
      await api.putLimits(CUSTOMER, [])
    }
    await dayLimits(MAX)
  })
  t.same(watch.faults, [])
  await expectExact(t)
})

t.test('a new max keeps what was counted, at once', async (t) => {
  const before = await api.standing(CUSTOMER, 'each-user', SINGLED_OUT)
  const watch = await watchedUnderLoad(async () => {
    await dayLimits(MAX / 2)
    const after = await api.standing(CUSTOMER, 'each-user', SINGLED_OUT)
    t.equal(after?.limit, MAX / 2)
    t.ok((after?.used ?? 0) >= (before?.used ?? Number.POSITIVE_INFINITY))
  })
  t.same(watch.faults, [])
  t.same([...watch.answers.keys()], ['known'])
  await expectExact(t)
})

t.test('a customer counted anew under load leaves nothing out unsaid, and is exact', async (t) => {
  const watch = await watchedUnderLoad(() => npmRun(system.environment, 'rebuild', '--customer', CUSTOMER))
  t.same(watch.faults, [])
  t.equal(watch.count('unknown-customer'), 0)
  await expectExact(t)
})

t.test('a shard built anew under load leaves nothing out unsaid, and is exact', async (t) => {
  const watch = await watchedUnderLoad(() => npmRun(system.environment, 'rebuild', '--shard', '0'))
  t.same(watch.faults, [])
  t.equal(watch.count('unknown-customer'), 0)
  await expectExact(t)
  const reconciliation = JSON.parse(await npmRun(system.environment, 'reconcile', '--json'))
  t.equal(reconciliation.drift, 0)
  t.equal(reconciliation.analyticsCaughtUp, true)
})
