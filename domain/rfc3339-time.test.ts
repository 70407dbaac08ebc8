import fc from 'fast-check'
import t from 'tap'
import { parseRfc3339 } from './rfc3339-time.ts'

const seed = Number(process.env.SEED ?? Date.now() % 2 ** 31)
t.comment(`SEED=${seed}`)

t.test('a time is read to the millisecond, in whatever offset it is written', async (t) => {
  const instants = fc.integer({ min: 86_400_000, max: Date.UTC(9999, 11, 30) })
  const offsets = fc.integer({ min: -23 * 60 - 59, max: 23 * 60 + 59 })
  fc.assert(
    fc.property(instants, offsets, (instant, offset) => {
      const local = new Date(instant + offset * 60_000).toISOString().slice(0, -1)
      const hours = String(Math.trunc(Math.abs(offset) / 60)).padStart(2, '0')
      const minutes = String(Math.abs(offset) % 60).padStart(2, '0')
      const text = `${local}${offset < 0 ? '-' : '+'}${hours}:${minutes}`
      if (local.startsWith('+')) return
      if (parseRfc3339(text) !== instant) throw new Error(`${text} became ${parseRfc3339(text)}`)
    }),
    { seed, numRuns: 1_000 }
  )
  const noon = Date.UTC(2026, 1, 28, 12)
  t.equal(parseRfc3339('2026-02-28t12:00:00z'), noon)
  t.equal(parseRfc3339('2026-02-28 12:00:00.5Z'), noon + 500)
  t.equal(parseRfc3339('2026-02-28T12:00:00.0129999999Z'), noon + 12, 'what is finer is cut off')
  t.equal(parseRfc3339('2026-02-28T12:00:00-00:00'), noon)
  t.equal(parseRfc3339('2024-02-29T00:00:00Z'), Date.UTC(2024, 1, 29))
  t.equal(parseRfc3339('2016-12-31T23:59:60Z'), Date.UTC(2017, 0, 1), 'a leap second is the second after it')
  t.equal(parseRfc3339('1969-12-31T23:30:00-01:00'), 1_800_000)
})

t.test('what is no RFC 3339 time with an offset is no time', async (t) => {
  const texts = [
    '',
    '2026-02-28',
    '2026-02-28T12:00:00',
    '2026-02-28T12:00Z',
    '2026-02-29T12:00:00Z',
    '2026-02-30T12:00:00Z',
    '2100-02-29T12:00:00Z',
    '2026-04-31T12:00:00Z',
    '2026-00-10T12:00:00Z',
    '2026-13-10T12:00:00Z',
    '2026-01-00T12:00:00Z',
    '2026-02-28T24:00:00Z',
    '2026-02-28T12:60:00Z',
    '2026-02-28T12:00:61Z',
    '2026-02-28T12:00:00+24:00',
    '2026-02-28T12:00:00+01:60',
    '2026-02-28T12:00:00+0100',
    '2026-02-28T12:00:00.Z',
    ' 2026-02-28T12:00:00Z',
    '2026-02-28T12:00:00Z\n',
    '+002026-02-28T12:00:00Z',
    '1969-12-31T23:59:59Z',
    '0070-01-01T00:00:00Z',
    '0001-01-01T00:00:00Z',
    `2026-02-28T12:00:00.${'1'.repeat(60)}Z`,
    'Sat, 28 Feb 2026 12:00:00 GMT',
    '1772280000000'
  ]
  for (const text of texts) t.equal(parseRfc3339(text), null, text)
})
