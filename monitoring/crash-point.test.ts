import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import t from 'tap'
import { withCrashPoints } from './crash-point.ts'

class Port {
  #calls = 0
  async write(by: number): Promise<number> {
    this.#calls += by
    return this.#calls
  }
  async read(): Promise<number> {
    return this.#calls
  }
}

t.test('unset, or of another port, the port itself is given back', async (t) => {
  const port = new Port()
  t.equal(withCrashPoints('ledger', port, undefined), port)
  t.equal(withCrashPoints('ledger', port, 'before:meter.apply:1'), port)
})

t.test('until its call comes, a port with a crash point does what it does without', async (t) => {
  const port = withCrashPoints('ledger', new Port(), 'after:ledger.write:3')
  t.equal(await port.write(2), 2)
  t.equal(await port.write(3), 5)
  t.equal(await port.read(), 5)
})

t.test('what names no method or can not be read is a fault at the start', async (t) => {
  t.throws(() => withCrashPoints('ledger', new Port(), 'before:ledger.fly:1'), { message: /ledger\.fly, which is no/ })
  for (const wrong of [
    '',
    'ledger.write',
    'during:ledger.write:1',
    'before:ledger.write:0',
    'before:ledger.write:1x'
  ]) {
    t.throws(() => withCrashPoints('ledger', new Port(), wrong), { message: /CRASH_AT must be/ })
  }
})

t.test('the process is killed right before or right after the stated call', async (t) => {
  const run = (crashAt: string) => {
    const code = `const { writeSync } = await import('node:fs')
      const { withCrashPoints } = await import('./monitoring/crash-point.ts')
      const port = { write: async (n) => { await null; writeSync(1, 'written ' + n + '\\n') } }
      const crashing = withCrashPoints('ledger', port, '${crashAt}')
      for (const n of [1, 2, 3]) { await crashing.write(n); writeSync(1, 'returned ' + n + '\\n') }`
    const options = { cwd: join(import.meta.dirname, '..'), encoding: 'utf8' } as const
    const { signal, stdout } = spawnSync(process.execPath, ['--input-type=module', '-e', code], options)
    return { signal, lines: stdout.trim().split('\n') }
  }
  t.same(run('before:ledger.write:2'), { signal: 'SIGKILL', lines: ['written 1', 'returned 1'] })
  t.same(run('after:ledger.write:2'), { signal: 'SIGKILL', lines: ['written 1', 'returned 1', 'written 2'] })
  t.equal(run('after:ledger.write:4').signal, null)
})
