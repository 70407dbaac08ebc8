/**
 * `npm test [-- files or options of tap]`: brings the services up unless they are there, runs tap with their URLs, and
 * ends with the line `N passed, N failed`. A run in which nothing was tested has failed.
 */
import { spawn } from 'node:child_process'
import { mkdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { projectFolder } from './machine/native-server.ts'
import { createProgress } from './machine/progress.ts'
import { stackFolder, startServices } from './services.ts'
import { countTests } from './tap-count.ts'

const reportFile = join(stackFolder(), `test-${process.pid}.tap`)
const services = await startServices({ onProgress: createProgress() })
try {
  mkdirSync(stackFolder(), { recursive: true })
  const exitCode = await runTap({ ...services.urls })
  const { passed, failed, skipped } = countTests(readReport(), exitCode)
  if (skipped > 0) console.log(`${skipped} skipped, which counts as failed`)
  process.exitCode = failed + skipped > 0 || exitCode !== 0 ? 1 : 0
  process.on('exit', () => console.log(`${passed} passed, ${failed + skipped} failed`))
} finally {
  rmSync(reportFile, { force: true })
  if (services.startedHere) await services.stop()
}

/** A signal reaches tap, which ends its tests; what was counted until then is still reported and the services stop. */
async function runTap(urls: Readonly<Record<string, string>>): Promise<number> {
  const tap = join(projectFolder(), 'node_modules', '.bin', 'tap')
  const isReporterChosen = process.argv.some((argument) => /^(-R|--reporter)/.test(argument))
  const options = ['--output-file', reportFile, ...(isReporterChosen ? [] : ['--reporter=base'])]
  const child = spawn(process.execPath, [tap, ...options, ...process.argv.slice(2)], {
    stdio: 'inherit',
    cwd: projectFolder(),
    env: { ...process.env, ...urls, NODE_OPTIONS: '--disable-warning=TimeoutNegativeWarning' }
  })
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => child.kill(signal))
  return new Promise((resolve, reject) => {
    child.once('error', reject)
    child.once('exit', (code) => resolve(code ?? 1))
  })
}

function readReport(): string {
  try {
    return readFileSync(reportFile, 'utf8')
  } catch {
    return ''
  }
}
