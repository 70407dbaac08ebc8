import { createRequire } from 'node:module'
import fc from 'fast-check'
import t from 'tap'
import { decodeRecord } from './decode-record.ts'

const seed = Number(process.env.SEED ?? Date.now() % 2 ** 31)
t.comment(`SEED=${seed}`)

const require = createRequire(import.meta.url)
const encode: (record: object) => {
  readonly buffer: Buffer
} = require('kafkajs/src/protocol/recordBatch/record/v0/index.js')
const decodeTheirs: (
  decoder: object,
  context: object
) => object = require('kafkajs/src/protocol/recordBatch/record/v0/decoder.js')
const Decoder: new (buffer: Buffer) => { readVarIntBytes(): Buffer } = require('kafkajs/src/protocol/decoder.js')

/** The record as it stands in a batch, behind its length. */
function bytesOf(record: object): Buffer {
  return new Decoder(encode(record).buffer).readVarIntBytes()
}

const context = fc.record({
  firstOffset: fc.maxSafeNat().map((offset) => String(Math.floor(offset / 2))),
  firstTimestamp: fc.constant('1795658792422'),
  maxTimestamp: fc.constant('1795658799999'),
  timestampType: fc.constantFrom(0, 1),
  magicByte: fc.constant(2),
  isControlBatch: fc.boolean()
})
const content = fc.option(fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes)))
/** Names that kafkajs itself reads right. */
const name = fc.string({ maxLength: 200 }).filter((one) => !(one in {}))
const record = fc.record({
  offsetDelta: fc.nat(2 ** 31 - 1),
  timestampDelta: fc.integer({ min: -(2 ** 31), max: 2 ** 40 }),
  key: content,
  value: content,
  headers: fc.dictionary(
    name,
    fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes))
  )
})

t.test('a record is read as kafkajs reads it', async (t) => {
  fc.assert(
    fc.property(record, context, (written, batch) => {
      const bytes = bytesOf(written)
      t.same(decodeRecord({ buffer: bytes }, batch), decodeTheirs(new Decoder(bytes), batch))
    }),
    { seed, numRuns: 500 }
  )
})

t.test('a header that came several times is a list, whatever it is called', async (t) => {
  const batch = { firstOffset: '5', firstTimestamp: '0', maxTimestamp: '9', timestampType: 1 }
  for (const header of ['a', 'constructor', '__proto__', 'toString']) {
    const values = [Buffer.from('1'), Buffer.from('2'), Buffer.from('3')]
    const headers = Object.fromEntries([[header, values]])
    const { headers: read } = decodeRecord({ buffer: bytesOf({ key: null, value: null, headers }) }, batch)
    t.same(Object.entries(read), [[header, values]], header)
  }
})
