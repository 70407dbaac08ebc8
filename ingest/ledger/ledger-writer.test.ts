// The writer before a ledger that answers when it is told to: what waits, what goes on, what is written again.

import t from 'tap'
import { RetryableError } from '../../domain/errors.ts'
import type { LedgerFlush, LedgerPosition } from '../../domain/ports.ts'
import { NO_TOKENS } from '../../domain/tokens/token-pools.ts'
import { usageEvent } from '../../test/counted-events.ts'
import { LedgerWriter } from './ledger-writer.ts'

type Outcome = 'moved' | 'fenced'

function at(cursor: number): LedgerPosition {
  return { cursor, previousArrivedAt: null, generations: [1], shardCursors: [cursor] }
}

/** A ledger whose answers are given by hand, oldest first. */
function handLedger() {
  const flushes: LedgerFlush[] = []
  const waiting: PromiseWithResolvers<Outcome>[] = []
  const writer = new LedgerWriter(
    {
      flush: (flush) => {
        flushes.push(flush)
        const answer = Promise.withResolvers<Outcome>()
        waiting.push(answer)
        return answer.promise
      }
    },
    0,
    at(0)
  )
  const next = (): PromiseWithResolvers<Outcome> => {
    const answer = waiting.shift()
    if (answer === undefined) throw new Error('nobody waits for an answer')
    return answer
  }
  return {
    writer,
    flushes,
    answer: async (outcome: Outcome): Promise<void> => {
      next().resolve(outcome)
      await writer.idle()
    },
    fail: async (error: Error): Promise<void> => {
      next().reject(error)
      await writer.idle()
    },
    use: (input: number, customerId = 'acme') =>
      writer.pending.add(usageEvent({ customerId, tokens: { ...NO_TOKENS, input } }))
  }
}

function sumsOf(flush: LedgerFlush | undefined): unknown {
  return flush?.rows.map(({ customerId, tokens, events }) => [customerId, tokens.input, events])
}

t.test('what is counted during a write waits for the next one, which begins where it ended', async (t) => {
  const { writer, flushes, answer, use } = handLedger()
  use(1)
  t.ok(writer.begin(at(1)))
  use(2)
  t.ok(writer.begin(at(2)), 'a second write does not begin beside the first')
  t.equal(flushes.length, 1)
  t.equal(writer.records, 2, 'what is under way still counts as waiting')
  t.same(writer.flushed, at(0))
  await answer('moved')
  t.same(writer.flushed, at(1))
  t.equal(writer.records, 1)
  writer.begin(at(2))
  await answer('moved')
  t.same(
    flushes.map(({ from, to }) => [from.cursor, to.cursor]),
    [
      [0, 1],
      [1, 2]
    ]
  )
  t.same(flushes.map(sumsOf), [[['acme', 1, 1]], [['acme', 2, 1]]])
})

t.test('what a ledger that was away did not take is written later with what came meanwhile', async (t) => {
  const { writer, flushes, answer, fail, use } = handLedger()
  use(1)
  use(5, 'other')
  writer.pending.leaveOut({ offset: 2, reason: 'duplicate', field: 'id', message: 'known' })
  writer.begin(at(3))
  use(2)
  await fail(new RetryableError('store-unavailable', 'away'))
  t.same(writer.flushed, at(0))
  t.equal(writer.records, 4)
  use(4)
  t.ok(writer.begin(at(5)))
  t.same([flushes[1]?.from, flushes[1]?.to], [at(0), at(5)])
  t.same(sumsOf(flushes[1]), [
    ['acme', 7, 3],
    ['other', 5, 1]
  ])
  t.equal(flushes[1]?.uncounted.length, 1)
  await answer('moved')
  t.equal(writer.records, 0)
})

t.test('sums that would pass 2^53 together are written beside each other', async (t) => {
  const { writer, flushes, answer, fail, use } = handLedger()
  use(Number.MAX_SAFE_INTEGER)
  writer.begin(at(1))
  use(3)
  await fail(new RetryableError('store-unavailable', 'away'))
  writer.begin(at(2))
  t.same(sumsOf(flushes[1]), [
    ['acme', Number.MAX_SAFE_INTEGER, 1],
    ['acme', 3, 1]
  ])
  await answer('moved')
})

t.test('a finish waits for the write that is under way, and then writes the rest', async (t) => {
  const { writer, flushes, answer, use } = handLedger()
  use(1)
  writer.begin(at(1))
  use(2)
  const finished = writer.finish(at(2))
  t.equal(flushes.length, 1)
  await answer('moved')
  t.same([flushes[1]?.from, flushes[1]?.to], [at(1), at(2)])
  await answer('moved')
  t.ok(await finished)
  t.same(writer.flushed, at(2))
  t.ok(await writer.finish(at(2)), 'nothing is left to write')
  t.equal(flushes.length, 2)
})

t.test('after someone else moved L nothing more is written', async (t) => {
  const { writer, flushes, answer, use } = handLedger()
  use(1)
  writer.begin(at(1))
  await answer('fenced')
  t.notOk(writer.begin(at(2)))
  t.notOk(await writer.finish(at(2)))
  t.equal(flushes.length, 1)
})

t.test('a defect is thrown to whoever counts, and is not taken for an absence', async (t) => {
  const { writer, fail, use } = handLedger()
  use(1)
  writer.begin(at(1))
  await fail(new RangeError('impossible'))
  t.throws(() => writer.begin(at(2)), { message: 'impossible' })
  await t.rejects(writer.finish(at(2)), { message: 'impossible' })
})
