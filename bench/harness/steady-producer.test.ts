import t from 'tap'
import { eventsDue } from './steady-producer.ts'

t.test('steady traffic sends as many events as its rate says, however its ticks fall', async (t) => {
  const eventsPerSecond = 15_000
  for (const ticks of [[10, 20, 30, 1_000], [7, 7.5, 640.1, 1_000], [1_000]]) {
    let sent = 0
    for (const elapsedMs of ticks) {
      sent += eventsDue({ elapsedMs, eventsPerSecond, sent })
      t.equal(sent, Math.floor((elapsedMs * eventsPerSecond) / 1_000))
    }
    t.equal(sent, eventsPerSecond)
  }
})

t.test('an event is never sent before it is due', async (t) => {
  t.equal(eventsDue({ elapsedMs: 99.9, eventsPerSecond: 10, sent: 0 }), 0)
  t.equal(eventsDue({ elapsedMs: 100, eventsPerSecond: 10, sent: 0 }), 1)
  t.equal(eventsDue({ elapsedMs: 100, eventsPerSecond: 10, sent: 1 }), 0)
  t.equal(eventsDue({ elapsedMs: 50, eventsPerSecond: 10, sent: 1 }), 0)
})
