import t from 'tap'
import { RetryableError } from '../../domain/errors.ts'
import type { Principal } from './access-rule.ts'
import { CredentialCache, GRACE_MS, type Known } from './credential-cache.ts'

const CACHE_MS = 5_000
const PRINCIPAL: Principal = { id: 'k', kind: 'api-key', customerId: null, role: null, scopes: new Set() }
const AWAY = new RetryableError('postgres-unavailable', 'away')

/** A cache, its clock, and a store that counts how often it is asked. */
function start(answer: () => Promise<Known | null>) {
  const clock = { at: 0 }
  const asked = { times: 0 }
  const cache = new CredentialCache({ cacheMs: CACHE_MS, now: () => clock.at })
  const lookUp = () => {
    asked.times += 1
    return answer()
  }
  const find = async (hash: string) => {
    const recalled = cache.recall(hash)
    return recalled === undefined ? cache.ask(hash, lookUp) : recalled
  }
  return { cache, clock, asked, find }
}

t.test('a credential is looked up once in its time, known or not, however many present it', async (t) => {
  for (const known of [{ principal: PRINCIPAL, expiresAt: null }, null]) {
    const { clock, asked, find } = start(async () => known)
    const expected = known === null ? null : PRINCIPAL
    for (const found of await Promise.all(Array.from({ length: 50 }, () => find('h')))) t.equal(found, expected)
    clock.at = CACHE_MS - 1
    t.equal(await find('h'), expected)
    t.equal(asked.times, 1)
    clock.at = CACHE_MS
    t.equal(await find('h'), expected)
    t.equal(asked.times, 2)
  }
})

t.test('what is revoked stops within the time of the cache', async (t) => {
  let known: Known | null = { principal: PRINCIPAL, expiresAt: null }
  const { clock, find } = start(async () => known)
  t.equal(await find('h'), PRINCIPAL)
  known = null
  clock.at = CACHE_MS
  t.equal(await find('h'), null)
})

t.test('a credential stops when it expires, also one that is remembered', async (t) => {
  const { clock, find } = start(async () => ({ principal: PRINCIPAL, expiresAt: 100 }))
  t.equal(await find('h'), PRINCIPAL)
  clock.at = 99
  t.equal(await find('h'), PRINCIPAL)
  clock.at = 100
  t.equal(await find('h'), null)
})

t.test(
  'while the store is away a known credential goes on for ten minutes and waits once, an unknown one is an error',
  async (t) => {
    let answer: () => Promise<Known | null> = async () => ({ principal: PRINCIPAL, expiresAt: null })
    const { clock, find } = start(() => answer())
    t.equal(await find('h'), PRINCIPAL)
    answer = async () => {
      throw AWAY
    }
    clock.at = CACHE_MS
    t.equal(await find('h'), PRINCIPAL)
    await t.rejects(find('other'), AWAY)
    // The store now answers nobody at all: whoever is known does not wait for it.
    const { promise, reject } = Promise.withResolvers<Known | null>()
    answer = () => promise
    t.equal(await find('h'), PRINCIPAL)
    reject(AWAY)
    clock.at = GRACE_MS
    answer = async () => {
      throw AWAY
    }
    await t.rejects(find('h'), AWAY)
  }
)

t.test('a defect of the store is no outage: nobody goes on', async (t) => {
  let answer: () => Promise<Known | null> = async () => ({ principal: PRINCIPAL, expiresAt: null })
  const { clock, find } = start(() => answer())
  await find('h')
  answer = async () => {
    throw new TypeError('a defect')
  }
  clock.at = CACHE_MS
  await t.rejects(find('h'), TypeError)
})

t.test('made-up credentials never push a known one out, and memory has an end', async (t) => {
  let known: Known | null = { principal: PRINCIPAL, expiresAt: null }
  const { asked, find } = start(async () => known)
  await find('known')
  known = null
  for (let i = 0; i < 10_001; i += 1) await find(`made-up-${i}`)
  t.equal(await find('known'), PRINCIPAL)
  t.equal(asked.times, 10_002)
  await find('made-up-0')
  t.equal(asked.times, 10_003, 'the oldest unknown one was forgotten')
})
