import t from 'tap'
import { microsOf } from './micros-of.ts'
import { Round } from './scenario.ts'

const round = new Round(
  new Map([
    [
      'two',
      {
        eventsPerSecond: 9,
        meterMicrosPerEvent: 1,
        meter2MicrosPerEvent: 2,
        redisMicrosPerEvent: 4,
        kafkaMicrosPerEvent: 8
      }
    ]
  ])
)

t.test('every process and service that is named so is counted, and nothing else', async (t) => {
  t.equal(microsOf(round, 'two', ['meter', 'redis']), 7)
  t.equal(microsOf(round, 'two', ['meter']), 3)
})

t.test(
  'a service of which nothing is known counts nothing beside one that is known, and is an error alone',
  async (t) => {
    t.equal(microsOf(round, 'two', ['kafka', 'postgres']), 8)
    t.throws(() => microsOf(round, 'two', ['postgres']), { message: /two read no processor time of postgres/ })
    t.throws(() => microsOf(round, 'one', ['meter']), Error)
  }
)
