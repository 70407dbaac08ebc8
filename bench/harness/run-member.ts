/** A program of `bench/members/` as a process of its own: it does one side's work and tells at its end what it took. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { text } from 'node:stream/consumers'
import { projectFolder } from '../../stack/machine/native-server.ts'
import { serviceCpuMicros, serviceCpuSince } from './cpu-time.ts'
import type { Reading } from './scenario.ts'
import { readingOf } from './time-consumption.ts'

/** What a member writes as its last line. */
export interface MemberReport {
  readonly records: number
  readonly seconds: number
  /** Processor time of the member between its first and its last record. */
  readonly cpuMicros: number
}

/** `entry`: a file of `bench/members/`, without its ending. Its configuration goes by environment. */
export async function runMember(entry: string, environment: Readonly<Record<string, string>>): Promise<Reading> {
  const services = serviceCpuMicros()
  const child = spawn(process.execPath, ['--disable-warning=TimeoutNegativeWarning', `bench/members/${entry}.ts`], {
    cwd: projectFolder(),
    env: { ...process.env, ...environment },
    stdio: ['ignore', 'pipe', 'pipe']
  })
  const [[code], said, complained] = await Promise.all([once(child, 'exit'), text(child.stdout), text(child.stderr)])
  if (code !== 0) throw new Error(`bench/members/${entry}.ts ended with ${code}: ${complained}`)
  const report: MemberReport = JSON.parse(said.trim().split('\n').at(-1) ?? '')
  return readingOf({
    records: report.records,
    seconds: report.seconds,
    micros: [['consumer', report.cpuMicros], ...Object.entries(serviceCpuSince(services))]
  })
}
