import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import t from 'tap'
import { Compile } from 'typebox/schema'
import { canonicalJson, type JsonObject } from '../../domain/json.ts'
import { AUDIT_VALUE_BYTES_MAX, auditIdOf, decodeAuditEvent } from './decode-audit-event.ts'

const SCHEMA_FILE = join(import.meta.dirname, '..', '..', 'docs', 'events', 'received', 'audit.recorded.schema.json')
const SCHEMA = JSON.parse(readFileSync(SCHEMA_FILE, 'utf8'))
const EVENT = SCHEMA.examples[0]
const ARRIVED_AT = Date.parse('2026-10-10T14:03:13+02:00')

function decode(value: string | Buffer) {
  return decodeAuditEvent({ offset: 0, arrivedAt: ARRIVED_AT, key: null, value: Buffer.from(value), headers: {} })
}

function fieldOf(event: object): string | null {
  const decoded = decode(JSON.stringify(event))
  return 'rejection' in decoded ? `${decoded.rejection.code} ${decoded.rejection.field}` : 'accepted'
}

t.test('the documented event is the record that it says', async (t) => {
  const identity = { customerId: 'customer-17', source: '/billing-service', id: EVENT.id }
  t.same(decode(JSON.stringify(EVENT)), {
    record: {
      id: auditIdOf(identity),
      customerId: 'customer-17',
      actor: {
        kind: 'user',
        id: 'user-4',
        address: '192.0.2.7',
        requestId: '019a5f0e-8c7e-7d31-9a51-0d5b1f0f6a12'
      },
      action: 'invoice.paid',
      entity: { kind: 'invoice', id: 'invoice-2026-0042' },
      before: { status: 'open' },
      after: { status: 'paid' },
      at: Date.parse(EVENT.time),
      origin: { source: '/billing-service', id: EVENT.id }
    }
  })
  t.match(auditIdOf(identity), /^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
})

t.test('what the schema refuses is refused, naming the field', async (t) => {
  const check = Compile(SCHEMA)
  const { data } = EVENT
  t.ok(check.Check(EVENT))
  const bad: readonly [object, string][] = [
    [{ ...EVENT, specversion: '0.3' }, 'invalid-envelope specversion'],
    [{ ...EVENT, type: 'ai.tokens.used' }, 'unknown-type type'],
    [{ ...EVENT, id: '' }, 'invalid-envelope id'],
    [{ ...EVENT, source: undefined }, 'invalid-envelope source'],
    [{ ...EVENT, time: undefined }, 'invalid-envelope time'],
    [{ ...EVENT, subject: 'x'.repeat(129) }, 'invalid-envelope subject'],
    [{ ...EVENT, data: null }, 'invalid-data data'],
    [{ ...EVENT, data: { ...data, who: 'me' } }, 'invalid-data data.who'],
    [{ ...EVENT, data: { ...data, action: 'paid' } }, 'invalid-data data.action'],
    [{ ...EVENT, data: { ...data, action: 'invoice.*' } }, 'invalid-data data.action'],
    [{ ...EVENT, data: { ...data, actor: { kind: 'robot', id: 'r' } } }, 'invalid-data data.actor.kind'],
    [{ ...EVENT, data: { ...data, actor: { kind: 'user' } } }, 'invalid-data data.actor.id'],
    [{ ...EVENT, data: { ...data, entity: { kind: 'invoice' } } }, 'invalid-data data.entity.id'],
    [{ ...EVENT, data: { ...data, before: [] } }, 'invalid-data data.before'],
    [{ ...EVENT, data: { ...data, after: 'paid' } }, 'invalid-data data.after']
  ]
  for (const [event, refusal] of bad) {
    t.notOk(check.Check(JSON.parse(JSON.stringify(event))), `schema: ${refusal}`)
    t.equal(fieldOf(event), refusal)
  }
  t.equal(fieldOf({ ...EVENT, time: '2026-10-10T15:00:00Z' }), 'too-early time')
  t.equal(fieldOf({ ...EVENT, time: '1999-01-01T00:00:00Z' }), 'accepted', 'an old one is as good as a new one')
  t.equal(
    fieldOf({ ...EVENT, data: { ...data, after: { text: 'x'.repeat(AUDIT_VALUE_BYTES_MAX) } } }),
    'too-large null'
  )
})

t.test('no two identities share a record id', async (t) => {
  const id = (customerId: string | null, source: string, eventId: string) =>
    auditIdOf({ customerId, source, id: eventId })
  const ids = [
    id('a', 'b', 'c'),
    id('ab', '', 'c'),
    id(null, 'b', 'c'),
    id('', 'b', 'c'),
    id('a","b', '', 'c'),
    id('a', 'c', 'b')
  ]
  t.equal(new Set(ids).size, ids.length)
})

t.test('no bytes make it throw, and what it accepts is told as it came', async () => {
  const bytes = fc.uint8Array({ maxLength: 200 }).map((array) => Buffer.from(array))
  fc.assert(fc.property(bytes, (value) => 'rejection' in decode(value)))
  const state = fc.dictionary(fc.string({ unit: 'binary' }), fc.jsonValue({ maxDepth: 4, stringUnit: 'binary' }))
  fc.assert(
    fc.property(state, (after) => {
      const text = JSON.stringify({ ...EVENT, data: { ...EVENT.data, after } })
      const decoded = decode(text)
      if ('rejection' in decoded) return true
      const said: JsonObject = JSON.parse(text).data.after
      return canonicalJson(decoded.record.after) === canonicalJson(said)
    })
  )
})
