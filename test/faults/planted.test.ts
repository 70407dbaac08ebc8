// The fault tests can fail: each planted defect, switched on here alone, is found by the oracle.

import t from 'tap'
import { type FaultSystem, until } from './fault-system.ts'
import { emptyRedis, findDefect, inFullRuns, rollRedisBack, type Schedule } from './planted-system.ts'

/** The meter dies when it has counted a batch and not yet written it to the ledger; what comes meanwhile makes the replay span it. */
async function dieBeforeFlush(system: FaultSystem): Promise<void> {
  const before = system.kills()
  system.killAtPoint('meter-1', 'after:meter.apply:2')
  await until('the meter to die twice', () => system.kills() >= before + 2)
}

async function dieAfterInsert(system: FaultSystem): Promise<void> {
  const before = system.kills()
  system.killAtPoint('analytics', 'after:usage-log.append:2')
  await until('analytics to die twice', () => system.kills() >= before + 2)
}

type Planted = readonly [defect: string, act: Schedule]
const SHOWN_BY_STORES: readonly Planted[] = [
  ['no-dead-letters', async () => undefined],
  ['no-block-token', dieAfterInsert]
]
const SIMULATED_TOO: readonly Planted[] = [
  ['judge-again', dieBeforeFlush],
  ['no-record', dieBeforeFlush],
  ['no-trim', dieBeforeFlush],
  ['no-roll-forward', rollRedisBack],
  ['flip-early', emptyRedis]
]

for (const [defect, act] of [...SHOWN_BY_STORES, ...inFullRuns(SIMULATED_TOO)]) {
  t.test(`the planted defect ${defect} is found`, async (t) => {
    const found = await findDefect(t, { defect, act })
    t.not(found.length, 0, 'the oracle finds it')
    t.comment(`${defect}: ${found[0]}`)
  })
}
