// The simulation in CI: seeded histories of the product's own code end exact, and each planted defect is found.

import { spawn } from 'node:child_process'
import { join } from 'node:path'
import t from 'tap'
import { DEFECTS } from './defects.ts'
import type { Result } from './worker.ts'

const SEEDS = 500
/** The defect that is hardest to find fails in about one history of thirty: that none of these does has odds of 1 : 25,000. */
const DEFECT_SEEDS = 300

interface Report {
  readonly histories: number
  readonly wrong: readonly Result[]
  readonly seconds: number
}

async function simulate(...args: readonly string[]): Promise<{ exitCode: number | null; report: Report }> {
  const script = join(import.meta.dirname, '..', '..', 'stack', 'simulate.ts')
  const child = spawn(process.execPath, [script, '--json', ...args], { stdio: ['ignore', 'pipe', 'inherit'] })
  t.teardown(() => child.kill())
  let output = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    output += text
  })
  const exitCode = await new Promise<number | null>((resolve, reject) => {
    child.once('error', reject)
    child.once('close', resolve)
  })
  if (output === '') throw new Error(`the simulation ended with ${exitCode} and said nothing`)
  return { exitCode, report: JSON.parse(output) }
}

t.test(
  `whatever dies, freezes or is overtaken, each of ${SEEDS} histories ends with every token counted once`,
  async (t) => {
    const { exitCode, report } = await simulate('--seeds', String(SEEDS))
    for (const { seed, wrong } of report.wrong)
      t.fail(`npm run test:simulate -- --first-seed ${seed} --seeds 1`, { wrong: wrong.slice(0, 5) })
    t.equal(report.histories, SEEDS)
    t.equal(exitCode, 0)
  }
)

for (const { name, leavesOut } of DEFECTS) {
  t.test(`the simulation finds the defect ${name}, which leaves out ${leavesOut}`, async (t) => {
    const { exitCode, report } = await simulate(
      '--seeds',
      String(DEFECT_SEEDS),
      '--defect',
      name,
      '--until-failures',
      '1'
    )
    t.equal(exitCode, 1)
    t.ok(report.wrong.length > 0, `found in ${report.histories} histories`)
  })
}

t.test('a defect whose place in the source is gone is an error, not a pass', async (t) => {
  await t.rejects(simulate('--seeds', '1', '--defect', 'no-such-defect'))
})
