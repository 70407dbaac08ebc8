import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { waitUntil } from './wait-until.ts'

/**
 * A process id is used again after its process is gone. A recorded process is therefore known by its id *and* the
 * moment it started, so that `down` never signals a stranger.
 */
export interface ProcessIdentity {
  pid: number
  startedAt: string
}

/** The identity of a process that runs now; null when there is none, or only a zombie nobody has reaped. */
export function findProcess(pid: number): ProcessIdentity | null {
  const startedAt = process.platform === 'linux' ? readLinuxStart(pid) : readStartFromPs(pid)
  return startedAt === null ? null : { pid, startedAt }
}

export function isRunning(identity: ProcessIdentity): boolean {
  return findProcess(identity.pid)?.startedAt === identity.startedAt
}

export async function waitForExit(identity: ProcessIdentity, timeoutMs: number): Promise<boolean> {
  try {
    await waitUntil(async () => !isRunning(identity), {
      what: `process ${identity.pid} to end`,
      timeoutMs,
      pollIntervalMs: 20
    })
    return true
  } catch {
    return false
  }
}

/** Asks a process to stop and, past its grace, kills it. True when it went by itself. */
export async function endProcess(identity: ProcessIdentity, signal: NodeJS.Signals, graceMs: number): Promise<boolean> {
  if (!isRunning(identity)) return true
  signalProcess(identity, signal)
  if (await waitForExit(identity, graceMs)) return true
  signalProcess(identity, 'SIGKILL')
  if (!(await waitForExit(identity, 5_000))) throw new Error(`process ${identity.pid} outlived SIGKILL by 5 s`)
  return false
}

/** False when the process was gone already. */
export function signalProcess(identity: ProcessIdentity, signal: NodeJS.Signals): boolean {
  if (!isRunning(identity)) return false
  try {
    return process.kill(identity.pid, signal)
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ESRCH') return false
    throw error
  }
}

/** /proc/<pid>/stat: after the command in parentheses come the state and, as 20th from there, the start time in ticks. */
function readLinuxStart(pid: number): string | null {
  let stat: string
  try {
    stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
  } catch {
    return null
  }
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  const [state] = fields
  return state === 'Z' || state === 'X' ? null : (fields[19] ?? null)
}

function readStartFromPs(pid: number): string | null {
  try {
    const started = execFileSync('ps', ['-o', 'lstart=', '-p', String(pid)], { encoding: 'utf8' }).trim()
    return started === '' ? null : started
  } catch {
    return null
  }
}
