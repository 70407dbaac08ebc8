import fc from 'fast-check'
import t from 'tap'
import { type ApiKey, hashOf, isLive, isWellFormed, makeSecret, rotate } from './api-key.ts'

const HOUR_MS = 3_600_000
const KEY: ApiKey = {
  id: 'old',
  customerId: 'c',
  name: 'n',
  scopes: ['quota:check'],
  expiresAt: 100 * HOUR_MS,
  revokedAt: null,
  replacedBy: null,
  lastUsedAt: 7,
  version: 3,
  createdAt: 10 * HOUR_MS,
  updatedAt: 20 * HOUR_MS
}

t.test('a secret says whose it is, has 192 random bits, and is never made twice', async (t) => {
  const secrets = Array.from({ length: 1_000 }, () => makeSecret('live'))
  for (const secret of secrets) t.match(secret, /^tm_live_[0-9A-Za-z]{33}_[0-9A-Za-z]{6}$/)
  t.equal(new Set(secrets).size, secrets.length)
  t.ok(secrets.every(isWellFormed))
  t.match(hashOf('x'), /^[0-9a-f]{64}$/)
})

t.test('a secret with any one character changed is no key', async (t) => {
  const secret = makeSecret('test')
  fc.assert(
    fc.property(fc.nat(secret.length - 1), fc.constantFrom(...'09AZaz_-é'), (at, character) => {
      const changed = `${secret.slice(0, at)}${character}${secret.slice(at + 1)}`
      return isWellFormed(changed) === (changed === secret)
    })
  )
  for (const other of ['', secret.slice(1), `${secret}0`, ` ${secret}`, secret.replace('tm_', 'TM_')]) {
    t.notOk(isWellFormed(other), other)
  }
})

t.test('rotation leaves two live keys for the overlap, and the new one lives as long as the old one did', async (t) => {
  const at = 50 * HOUR_MS
  const rotation = rotate(KEY, { id: 'new', at, overlapMs: 2 * HOUR_MS })
  t.match(rotation, {
    old: { id: 'old', expiresAt: at + 2 * HOUR_MS, replacedBy: 'new', version: 4 },
    fresh: { id: 'new', scopes: ['quota:check'], expiresAt: at + 90 * HOUR_MS, lastUsedAt: null, version: 1 }
  })
  t.ok(rotation !== null && isLive(rotation.old, at) && isLive(rotation.fresh, at))
  t.notOk(rotation !== null && isLive(rotation.old, at + 2 * HOUR_MS))
  t.equal(rotate({ ...KEY, expiresAt: at + 1 }, { id: 'new', at, overlapMs: HOUR_MS })?.old.expiresAt, at + 1)
  t.equal(rotate({ ...KEY, expiresAt: null }, { id: 'new', at, overlapMs: HOUR_MS })?.fresh.expiresAt, null)
})

t.test('a key that is not live, or was replaced, is not replaced', async (t) => {
  const rotation = { id: 'new', at: 50 * HOUR_MS, overlapMs: HOUR_MS }
  for (const key of [
    { ...KEY, replacedBy: 'other' },
    { ...KEY, revokedAt: 1 },
    { ...KEY, expiresAt: rotation.at }
  ]) {
    t.equal(rotate(key, rotation), null)
  }
})
