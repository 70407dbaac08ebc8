import fc from 'fast-check'
import t from 'tap'
import { splitJsonRecords } from './split-json-records.ts'

const split = (text: string, recordsMax = 1000) => splitJsonRecords(Buffer.from(text), recordsMax)

t.test('a list is cut into the texts of its records, however they are written', async (t) => {
  const blank = fc.stringMatching(/^[ \t\r\n]{0,3}$/)
  fc.assert(
    fc.property(fc.array(fc.jsonValue(), { maxLength: 20 }), blank, (values, space) => {
      const text = `${space}[${values.map((value) => space + JSON.stringify(value, null, space.length) + space).join(',')}${space}]${space}`
      const found = split(text)
      if (found.kind !== 'batch') throw new Error(`${found.kind}: ${text}`)
      t.same(
        found.records.map((record): unknown => JSON.parse(record.toString())),
        JSON.parse(text)
      )
    })
  )
})

t.test('brackets and commas in strings and after escapes do not cut', async (t) => {
  const found = split(String.raw`[{"a":"],[{\"},"},"\\","é]"]`)
  t.match(found, { kind: 'batch', records: { length: 3 } })
})

t.test('a text that is no list is one record, whole', async (t) => {
  t.same(split(' {"a":[1,2]} '), { kind: 'single', record: Buffer.from(' {"a":[1,2]} ') })
})

t.test('a list that does not end where the text ends is malformed', async (t) => {
  for (const text of ['[', '[1', '[1,', '["', '["\\', '[1]]', '[1] x', '[] []', '[{"a":1}'])
    t.equal(split(text).kind, 'malformed', text)
})

t.test('more records than allowed are not cut at all', async (t) => {
  t.equal(split('[1,2,3]', 3).kind, 'batch')
  t.equal(split('[1,2,3,4]', 3).kind, 'too-many')
})

t.test('a record nested a hundred thousand deep is cut like any other', async (t) => {
  const deep = `${'['.repeat(100_000)}${']'.repeat(100_000)}`
  t.match(split(`[1,${deep},2]`), { kind: 'batch', records: { length: 3 } })
})
