/** Times consumers from the outside: how far they are is read from a store, what they took from the kernel. */
import { setTimeout as sleep } from 'node:timers/promises'
import { cpuMicros, serviceCpuMicros, serviceCpuSince } from './cpu-time.ts'
import type { Reading } from './scenario.ts'

export interface Consumption {
  /** Records whose effect is there. */
  readonly read: () => Promise<number>
  /** Records on which work has begun, where that is sooner: the clock starts at the first of them. */
  readonly readBegun?: () => Promise<number>
  readonly records: number
  /** Of our processes by name; called when the clock starts and when it stops. */
  readonly pids: () => Readonly<Record<string, number | null>>
}

const LOOK_INTERVAL_MS = 20
const STANDSTILL_MAX_MS = 60_000

/**
 * From the first record that is seen to have its effect to the last; throws when nothing moves for a minute. The reading:
 * `eventsPerSecond`, and for each process and service `<name>MicrosPerEvent`, of which `cpuMicrosPerEvent` is the sum.
 */
export async function timeConsumption({ read, readBegun = read, records, pids }: Consumption): Promise<Reading> {
  const first = await awaitMore({ read: readBegun, than: 0 })
  const startedAt = performance.now()
  const before = { ours: oursNow(pids()), services: serviceCpuMicros() }
  for (let done = readBegun === read ? first : 0; done < records; ) done = await awaitMore({ read, than: done })
  const seconds = (performance.now() - startedAt) / 1_000
  const ours = Object.entries(oursNow(pids())).map(
    ([name, micros]) => [name, micros - (before.ours[name] ?? 0)] as const
  )
  return readingOf({
    records: records - first,
    seconds,
    micros: [...ours, ...Object.entries(serviceCpuSince(before.services))]
  })
}

export function readingOf(of: {
  readonly records: number
  readonly seconds: number
  readonly micros: readonly (readonly [name: string, micros: number])[]
}): Reading {
  const perEvent = of.micros.map(([name, micros]) => [`${name}MicrosPerEvent`, micros / of.records] as const)
  return {
    eventsPerSecond: of.records / of.seconds,
    cpuMicrosPerEvent: perEvent.reduce((sum, [, micros]) => sum + micros, 0),
    ...Object.fromEntries(perEvent)
  }
}

async function awaitMore({ read, than }: { read: () => Promise<number>; than: number }): Promise<number> {
  const deadline = performance.now() + STANDSTILL_MAX_MS
  for (;;) {
    const done = await read()
    if (done > than) return done
    if (performance.now() > deadline) throw new Error(`nothing moves: ${done} records have their effect`)
    await sleep(LOOK_INTERVAL_MS)
  }
}

function oursNow(pids: Readonly<Record<string, number | null>>): Readonly<Record<string, number>> {
  return Object.fromEntries(Object.entries(pids).map(([name, pid]) => [name, pid === null ? 0 : cpuMicros(pid)]))
}
