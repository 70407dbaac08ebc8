/**
 * `npm test [-- files or options of tap]`: brings the services up unless they are there, runs tap with their URLs, and
 * ends with the line `N passed, N failed`. A run in which nothing was tested has failed.
 */
import { spawn } from 'node:child_process'
import { join } from 'node:path'
import { projectFolder } from '../machine/native-server.ts'
import { installMissing, listMissingTestPrograms } from '../machine/packages.ts'
import { createProgress } from '../machine/progress.ts'
import { startServices } from '../services.ts'
import { countTests } from './tap-count.ts'

/** tap's summary stands at the very end of what it writes. */
const TAIL_LENGTH = 20_000

/** What the last line says when the run breaks before it could count. */
let count = '0 passed, 1 failed'
process.on('exit', () => console.log(`\n${count}`))

try {
  await runTests()
} catch (error) {
  console.error(error)
  process.exitCode = 1
}

async function runTests(): Promise<void> {
  const progress = createProgress()
  await installMissing(listMissingTestPrograms, progress)
  const services = await startServices({ onProgress: progress })
  try {
    const { exitCode, tail } = await runTap({ ...services.urls })
    const { passed, failed, skipped } = countTests(tail, exitCode)
    if (skipped > 0) console.log(`${skipped} skipped, which counts as failed`)
    process.exitCode = failed + skipped > 0 || exitCode !== 0 ? 1 : 0
    count = `${passed} passed, ${failed + skipped} failed`
  } finally {
    await services.stop()
  }
}

/**
 * tap's own report passes through. It redraws itself on a terminal; told that it runs in CI it writes a line per file and
 * the failures at the end. (Its option --output-file would give the count apart, but takes the failures out of the report.)
 * A signal reaches tap, which ends its tests; what was counted until then is still told, and the services stop.
 */
async function runTap(urls: Readonly<Record<string, string>>): Promise<{ exitCode: number; tail: string }> {
  const tap = join(projectFolder(), 'node_modules', '.bin', 'tap')
  const colour = process.stdout.isTTY ? '--color' : '--no-color'
  const child = spawn(process.execPath, [tap, '--reporter=base', colour, ...process.argv.slice(2)], {
    stdio: ['inherit', 'pipe', 'inherit'],
    cwd: projectFolder(),
    env: { ...process.env, ...urls, CI: 'true', NODE_OPTIONS: '--disable-warning=TimeoutNegativeWarning' }
  })
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => child.kill(signal))
  let tail = ''
  child.stdout.on('data', (bytes: Buffer) => {
    process.stdout.write(bytes)
    tail = (tail + bytes.toString()).slice(-TAIL_LENGTH)
  })
  return new Promise((resolve, reject) => {
    child.once('error', reject)
    child.once('close', (code) => resolve({ exitCode: code ?? 1, tail }))
  })
}
