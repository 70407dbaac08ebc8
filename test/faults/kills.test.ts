// Consumers killed at any moment and at every named point, frozen past their session, and asked to stop: nothing is lost or doubled.

import t from 'tap'
import { Random } from '../../stack/demo/random.ts'
import { FaultSystem, until } from './fault-system.ts'

/** One round is CI's size; FAULT_ROUNDS=10 kills more than 300 times. */
const ROUNDS = Number(process.env.FAULT_ROUNDS ?? 1)
const RANDOM_KILLS = 18
const POINTS: readonly (readonly [name: string, point: string])[] = [
  ['meter-1', 'before:meter.apply:3'],
  ['meter-2', 'after:meter.apply:3'],
  ['meter-1', 'before:ledger.flush:2'],
  ['meter-2', 'after:ledger.flush:2'],
  ['meter-1', 'after:meter.tick:3'],
  ['meter-2', 'after:dead-letters.append:1'],
  ['analytics', 'after:blocks.record:2'],
  ['analytics', 'before:usage-log.append:2'],
  ['analytics', 'after:usage-log.append:2'],
  ['analytics', 'after:blocks.finish:2']
]

for (let round = 1; round <= ROUNDS; round++) {
  t.test(`round ${round}: killed at random and at every named point, nothing is lost or counted twice`, async (t) => {
    const system = await FaultSystem.start(t)
    const random = new Random(round)
    system.load.start()
    for (const [name, point] of POINTS) {
      const before = system.kills()
      system.killAtPoint(name, point)
      await until(`${name} to die at ${point}`, () => system.kills() >= before + 2)
    }
    for (let i = 0; i < RANDOM_KILLS; i++) {
      const name = ['meter-1', 'meter-2', 'analytics'][random.below(3)] ?? 'analytics'
      const before = system.kills()
      const sent = system.load.acknowledged
      await until('some more records', () => system.load.acknowledged > sent + random.below(800))
      await until(`${name} to run`, () => system.supervisor.pidOf(name) !== null)
      system.kill(name)
      await until(`${name} to be gone`, () => system.kills() > before)
    }
    const findings = await system.verdict()
    t.same(findings, [], 'I1 to I5 hold', { lines: system.lastLines() })
    const least = POINTS.length * 2 + RANDOM_KILLS
    t.ok(system.kills() >= least, `${system.kills()} SIGKILLs, at least ${least}`)
    t.comment(
      `${system.kills()} SIGKILLs, ${system.load.acknowledged} records, ${findings.length} lost or counted twice`
    )
  })
}

t.test('a zombie that wakes up past its session is fenced, and changes nothing', async (t) => {
  const system = await FaultSystem.start(t, { meters: 2 })
  system.load.start()
  for (let i = 0; i < 3; i++) {
    const zombie = system.meters[i % 2] ?? 'meter-1'
    const countedBefore = await system.counted(zombie)
    await until(`${zombie} to count`, async () => (await system.counted(zombie)) > countedBefore)
    const fencedBefore = await system.fenced(zombie)
    const joins = system.saw(/partitions assigned/)
    system.supervisor.kill(zombie, 'SIGSTOP')
    await until('the other to take over', () => system.saw(/partitions assigned/) > joins)
    const taken = system.load.acknowledged
    await until('the other to count on', () => system.load.acknowledged > taken + 800)
    system.supervisor.kill(zombie, 'SIGCONT')
    await until(`${zombie} to be fenced`, async () => (await system.fenced(zombie)) > fencedBefore)
  }
  t.same(await system.verdict(), [], 'I1 to I5 hold', { lines: system.lastLines() })
})

t.test('asked to stop in the middle of a flush, a consumer ends with 0 and loses nothing', async (t) => {
  const system = await FaultSystem.start(t)
  system.load.start()
  const sent = system.load.acknowledged
  await until('some load', () => system.load.acknowledged > sent + 600)
  for (const name of ['meter-1', 'analytics', 'meter-2']) {
    await system.supervisor.stop(name)
    t.equal(system.ends.at(-1), `${name} code 0`)
  }
  for (const name of system.supervisor.names) system.supervisor.start(name)
  t.same(await system.verdict(), [], 'I1 to I5 hold', { lines: system.lastLines() })
})
