// Relays killed at any moment and at every named point, while changes are committed: other services hear of all of them, in order.

import t from 'tap'
import { Random } from '../../stack/demo/random.ts'
import { until } from './fault-system.ts'
import { RelaySystem } from './relay-system.ts'

/** One round is CI's size; FAULT_ROUNDS=4 kills more than 100 times. */
const ROUNDS = Number(process.env.FAULT_ROUNDS ?? 1)
const RANDOM_KILLS = 18
const POINTS = [
  'before:outbox.take:2',
  'after:outbox.take:1',
  'before:events.append:1',
  'after:events.append:1',
  'after:events.append:2',
  'before:outbox.remove:1',
  'after:outbox.remove:1'
]

for (let round = 1; round <= ROUNDS; round++) {
  t.test(
    `round ${round}: every committed event is heard, in the order of commits, and none that was rolled back`,
    async (t) => {
      const system = await RelaySystem.start(t, ['relay-1', 'relay-2'])
      const random = new Random(round)
      system.writer.start()
      system.supervisor.start('relay-1')
      await until('relay-1 to have its turn', () => system.active === 'relay-1')
      system.killAtPoints('relay-1', POINTS)
      for (const [i, point] of POINTS.entries()) await until(`relay-1 to die at ${point}`, () => system.kills >= i + 2)
      system.supervisor.start('relay-2')
      for (let i = 0; i < RANDOM_KILLS; i++) {
        await until('a relay to have its turn', () => system.active !== null)
        const wanted = system.writer.committed + random.below(60)
        await until('some more changes', () => system.writer.committed >= wanted)
        const before = system.kills
        system.kill(system.active ?? 'relay-1')
        await until('it to be gone', () => system.kills > before)
      }
      await system.writer.stop()
      await until('the outbox to be empty', async () => (await system.outbox.backlog()).waiting === 0)

      const heard = await system.heard()
      // A map keeps a key where it was first set: repeats change nothing of the order.
      const once = [...new Map(heard.map((event) => [event.id, event])).values()]
      const byCustomer = Map.groupBy(once, ({ customerId }) => customerId)
      const told = new Map([...byCustomer].map(([customerId, events]) => [customerId, events.map(({ what }) => what)]))
      t.same(told, await system.committed(), 'by customer', { lines: system.lastLines() })
      t.ok(system.writer.rolledBack > 0, `${system.writer.rolledBack} changes were rolled back`)
      t.ok(
        heard.length > once.length,
        `${heard.length - once.length} repeats: a relay died between acknowledgement and removal`
      )
      const least = 1 + POINTS.length + RANDOM_KILLS
      t.ok(system.kills >= least, `${system.kills} SIGKILLs, at least ${least}`)
      t.comment(`${system.kills} SIGKILLs, ${system.writer.committed} changes, ${once.length} events, none lost`)
    }
  )
}
