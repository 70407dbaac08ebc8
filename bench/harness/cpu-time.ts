/** Processor time as the kernel counts it for a process, all of its threads and the children it has waited for. */
import { readdirSync, readFileSync } from 'node:fs'
import { readStackRecord, stackFolder } from '../../stack/services.ts'

/** Ticks of the kernel's clock in a second; what Linux gives to programs has been 100 since ever, whatever it uses inside. */
const TICKS_PER_SECOND = 100
const MICROS_PER_TICK = 1_000_000 / TICKS_PER_SECOND
/** In /proc/PID/stat, after the name in parentheses: the parent's id, user and system time, and those of children that ended. */
const PARENT = 1
const TIMES = [11, 12, 13, 14]

/** Microseconds; 0 when there is no such process (any more). */
export function cpuMicros(pid: number): number {
  const fields = statOf(pid)
  return TIMES.reduce((sum, at) => sum + Number(fields?.[at] ?? 0), 0) * MICROS_PER_TICK
}

/** Of a process and those it has started: PostgreSQL's connections are processes. */
export function familyCpuMicros(pid: number): number {
  let sum = cpuMicros(pid)
  for (const name of readdirSync('/proc')) {
    if (/^\d+$/.test(name) && Number(statOf(Number(name))?.[PARENT]) === pid) sum += cpuMicros(Number(name))
  }
  return sum
}

/** Microseconds of each service that this machine runs for the stack; of those in containers nothing is known, so none. */
export function serviceCpuMicros(): Readonly<Record<string, number>> {
  const services = readStackRecord(stackFolder())?.services ?? []
  return Object.fromEntries(
    services.flatMap(({ name, pid }) => (pid === null ? [] : [[name, familyCpuMicros(pid)] as const]))
  )
}

/** What each service took since. */
export function serviceCpuSince(before: Readonly<Record<string, number>>): Readonly<Record<string, number>> {
  const now = serviceCpuMicros()
  return Object.fromEntries(Object.entries(before).map(([name, micros]) => [name, (now[name] ?? 0) - micros]))
}

function statOf(pid: number): readonly string[] | null {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'utf8')
    return text.slice(text.lastIndexOf(')') + 2).split(' ')
  } catch (error) {
    if (error instanceof Error && 'code' in error && (error.code === 'ENOENT' || error.code === 'ESRCH')) return null
    throw error
  }
}
