import t from 'tap'
import { VirtualClock } from '../http/virtual-clock.ts'
import { REQUEST_RECORDS_MAX, TimetableProducer } from './timetable-producer.ts'

interface Sending {
  readonly perSecond: number
  readonly seconds: number
  /** How long Kafka takes for the request that begins at this instant; null: it fails at once. */
  readonly takesMs: (at: number) => number | null
  readonly stopAtMs?: number
}

async function run({ perSecond, seconds, takesMs, stopAtMs }: Sending) {
  const clock = new VirtualClock()
  const arrived: { readonly records: readonly number[]; readonly at: number }[] = []
  let made = 0
  let onTheWay = 0
  let mostOnTheWay = 0
  let mostBehindMs = 0
  let failures = 0
  const producer: TimetableProducer<number> = new TimetableProducer({
    perSecond,
    seconds,
    clock,
    next: () => made++,
    onFailure: () => failures++,
    send: async (records) => {
      mostOnTheWay = Math.max(mostOnTheWay, ++onTheWay)
      mostBehindMs = Math.max(mostBehindMs, producer.behindMs)
      const takes = takesMs(clock.now())
      if (takes !== null) await clock.until(clock.now() + takes)
      onTheWay--
      if (takes === null) throw new Error('away')
      arrived.push({ records, at: clock.now() })
      if (stopAtMs !== undefined && clock.now() >= stopAtMs) producer.stop()
    }
  })
  const failure = await clock.run(producer.run().then(() => null, String))
  return { failure, producer, arrived, made, mostOnTheWay, mostBehindMs, failures, endedAt: clock.now() }
}

t.test('a Kafka that keeps up gets every record at its pace', async (t) => {
  const { producer, arrived, mostBehindMs, endedAt } = await run({ perSecond: 500, seconds: 4, takesMs: () => 3 })
  t.equal(producer.sent, 2_000)
  t.ok(endedAt < 4_050)
  t.ok(mostBehindMs <= 40, `at most ${mostBehindMs} ms behind`)
  const firstHalf = arrived.filter(({ at }) => at <= 2_000).reduce((sum, { records }) => sum + records.length, 0)
  t.ok(Math.abs(firstHalf - 1_000) <= 10, `${firstHalf} records in the first half`)
})

t.test(
  'a slow Kafka makes it fall behind its timetable, and keeps no more than one request of records here',
  async (t) => {
    const { producer, arrived, made, mostOnTheWay } = await run({
      perSecond: 10_000,
      seconds: 10,
      takesMs: () => 1_000
    })
    t.equal(mostOnTheWay, 1)
    t.equal(made, producer.sent)
    t.ok(arrived.every(({ records }) => records.length <= REQUEST_RECORDS_MAX))
    const missing = 100_000 - producer.sent
    t.ok(missing > 85_000, `${missing} were never due soon enough`)
    t.equal(Math.round(producer.behindMs), Math.round(producer.elapsedMs - producer.sent / 10))
  }
)

t.test('after a standstill it catches up', async (t) => {
  const { producer, mostBehindMs } = await run({
    perSecond: 1_000,
    seconds: 20,
    takesMs: (at) => (at >= 1_000 && at < 1_020 ? 5_000 : 5)
  })
  t.ok(mostBehindMs >= 4_900)
  t.equal(producer.sent, 20_000)
  t.ok(producer.behindMs < 100)
})

t.test('a request that failed goes again, with the same records and none left out', async (t) => {
  const { producer, arrived, failures } = await run({
    perSecond: 1_000,
    seconds: 5,
    takesMs: (at) => (at >= 1_000 && at < 3_000 ? null : 5)
  })
  t.ok(failures >= 3)
  t.same(
    arrived.flatMap(({ records }) => records),
    Array.from({ length: producer.sent }, (_, i) => i)
  )
})

t.test('a Kafka that stays away ends it with an error', async (t) => {
  const { failure } = await run({ perSecond: 1_000, seconds: 60, takesMs: () => null })
  t.match(failure, /in none of 30 tries/)
})

t.test('one that is stopped ends with the request on its way', async (t) => {
  const { producer, arrived, made, endedAt } = await run({
    perSecond: 1_000,
    seconds: 60,
    takesMs: () => 5,
    stopAtMs: 500
  })
  t.ok(endedAt < 600)
  t.equal(arrived.at(-1)?.records.at(-1), producer.sent - 1)
  t.equal(made, producer.sent)
})
