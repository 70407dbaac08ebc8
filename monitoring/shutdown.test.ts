import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import t from 'tap'

interface Ended {
  readonly code: number | null
  readonly lines: readonly string[]
}

/** Runs `code` with a Shutdown at hand; `onLine` answers what the process prints. */
async function run(code: string, onLine: (line: string, child: ChildProcess) => void): Promise<Ended> {
  const program = `const { Shutdown } = await import('./monitoring/shutdown.ts')
    const say = (fields, message) => console.log(message)
    const shutdown = new Shutdown({ logger: { info: say, error: say }, deadlineMs: 300 })
    setInterval(() => undefined, 1_000)
    ${code}
    console.log('up')`
  const child = spawn(process.execPath, ['--input-type=module', '-e', program], {
    cwd: join(import.meta.dirname, '..'),
    stdio: ['ignore', 'pipe', 'inherit']
  })
  const lines: string[] = []
  createInterface({ input: child.stdout }).on('line', (line) => {
    lines.push(line)
    onLine(line, child)
  })
  await once(child, 'close')
  return { code: child.exitCode, lines }
}

const killAt = (at: string, signal: NodeJS.Signals) => (line: string, child: ChildProcess) => {
  if (line === at) child.kill(signal)
}

t.test('a signal runs the steps from the last to the first, each after the other, and ends with 0', async (t) => {
  const code = `for (const name of ['first', 'second', 'third']) {
      shutdown.add(name, async () => { await new Promise(setImmediate); console.log(name, shutdown.isBegun) })
    }`
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    t.same(await run(code, killAt('up', signal)), {
      code: 0,
      lines: ['up', 'stops', 'third true', 'second true', 'first true', 'stopped']
    })
  }
})

t.test('a step that fails is told, the others still run, and the process ends with 1', async (t) => {
  const code = `shutdown.add('first', () => console.log('first'))
    shutdown.add('second', () => { throw new Error('broken') })`
  t.same(await run(code, killAt('up', 'SIGTERM')), {
    code: 1,
    lines: ['up', 'stops', 'a step of the shutdown failed', 'first', 'stopped']
  })
})

t.test('a step that never ends is cut off at the deadline with 1', async (t) => {
  const code = `shutdown.add('hangs', () => new Promise(() => undefined))`
  t.same(await run(code, killAt('up', 'SIGTERM')), { code: 1, lines: ['up', 'stops', 'did not stop in time'] })
})

t.test('a second signal ends at once with 1', async (t) => {
  const code = `shutdown.add('never', () => console.log('never'))
    shutdown.add('hangs', () => { console.log('hangs'); return new Promise(() => undefined) })`
  const onLine = (line: string, child: ChildProcess): void => {
    if (line === 'up' || line === 'hangs') child.kill('SIGTERM')
  }
  const { code: exitCode, lines } = await run(code, onLine)
  t.equal(exitCode, 1)
  t.same(lines, ['up', 'stops', 'hangs', 'second signal: ends at once'])
})

t.test('a defect lets go of everything and ends with 1', async (t) => {
  const code = `shutdown.add('first', () => console.log('first'))
    shutdown.fail(new Error('defect')); shutdown.fail(new Error('again'))`
  const { code: exitCode, lines } = await run(code, () => undefined)
  t.equal(exitCode, 1)
  t.equal(lines.filter((line) => line === 'first').length, 1)
})
