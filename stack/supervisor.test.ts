import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { waitUntil } from './machine/wait-until.ts'
import { type ProcessDefinition, Supervisor } from './supervisor.ts'

const folder = mkdtempSync(join(tmpdir(), 'tokenmeter-supervisor-'))
const script = join(folder, 'process.ts')
writeFileSync(
  script,
  `const stay = setInterval(() => {}, 1000)
  process.on('SIGTERM', () => { console.log('drained'); clearInterval(stay) })
  console.log('ready', process.env.GREETING)`
)
t.teardown(() => rmSync(folder, { recursive: true, force: true }))

function define(name: string): ProcessDefinition {
  return { name, entry: script, environment: { GREETING: `from ${name}` } }
}

interface Teardown {
  teardown(handler: () => Promise<void>): void
}

function supervise(t: Teardown, restarts = true): { supervisor: Supervisor; lines: string[] } {
  const lines: string[] = []
  const onLine = (name: string, line: string): number => lines.push(`${name}: ${line}`)
  const supervisor = new Supervisor({ definitions: [define('first'), define('second')], onLine, restarts })
  t.teardown(() => supervisor.stopAll())
  return { supervisor, lines }
}

t.test('a process that is killed runs again, under another id', async (t) => {
  const { supervisor, lines } = supervise(t)
  supervisor.start('first')
  await supervisor.waitReady('first')
  t.ok(lines.includes('first: ready from first'))
  const killed = supervisor.pidOf('first')
  supervisor.kill('first')
  await waitUntil(async () => ![null, killed].includes(supervisor.pidOf('first')), {
    what: 'another process',
    timeoutMs: 10_000
  })
  await supervisor.waitReady('first')
})

t.test('processes stop in the reverse of their order, each after it has drained', async (t) => {
  const { supervisor, lines } = supervise(t)
  for (const name of supervisor.names) supervisor.start(name)
  for (const name of supervisor.names) await supervisor.waitReady(name)
  await supervisor.stopAll()
  t.same(lines.slice(-4), ['second: drained', 'second: ended (code 0)', 'first: drained', 'first: ended (code 0)'])
  t.same(
    supervisor.names.map((name) => supervisor.pidOf(name)),
    [null, null]
  )
})

t.test('without restarts a killed process stays down until it is started', async (t) => {
  const { supervisor, lines } = supervise(t, false)
  supervisor.start('first')
  await supervisor.waitReady('first')
  supervisor.kill('first')
  await waitUntil(async () => lines.includes('first: ended (SIGKILL)'), { what: 'its end', timeoutMs: 10_000 })
  t.equal(supervisor.pidOf('first'), null)
  supervisor.start('first')
  await supervisor.waitReady('first')
})

t.test('a name that nobody defined is refused', async (t) => {
  const { supervisor } = supervise(t)
  t.throws(() => supervisor.start('third'), /no process is named third; there are first, second/)
})
