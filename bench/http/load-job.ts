/** What a load generator is asked to do, and what it tells afterwards: a JSON line each. */
import type { RequestPoolOptions } from './request-pool.ts'

export interface LoadJob extends RequestPoolOptions {
  readonly path: string
  readonly headers: Readonly<Record<string, string>>
  /** Sent in turn. */
  readonly bodies: readonly string[]
  readonly load: CapacityLoad | TimetableLoad
  /** Whose processor time is read when the measured part begins and ends: process ids by name. */
  readonly processes: Readonly<Record<string, readonly number[]>>
}

/** As many requests as the callers get answered. */
export interface CapacityLoad {
  readonly kind: 'capacity'
  readonly callers: number
  /** In the same way, not measured: connections are made, and code is compiled, for which a server wants some thousands. */
  readonly warmUpRequests: number
  readonly forMs: number
}

/** Requests of callers who don't know of each other, at a pace. */
export interface TimetableLoad {
  readonly kind: 'timetable'
  readonly perSecond: number
  /** At the same pace, not measured. */
  readonly warmUpSeconds: number
  readonly seconds: number
  readonly seed: number
  /** Beyond it a request waits, and is charged for it. */
  readonly inFlightMax: number
}

export interface LoadReport {
  readonly requests: number
  /** Answers other than 2xx by their status, and what has no answer by its reason. */
  readonly failures: Readonly<Record<string, number>>
  readonly seconds: number
  readonly requestsPerSecond: number
  readonly p50Ms: number
  readonly p99Ms: number
  readonly p999Ms: number
  readonly maxMs: number
  /** Of a timetable: what 99 of 100 requests did not exceed from due to sent. It lies in their latencies. */
  readonly startDelayP99Ms: number
  /** By the names of the job, and `client`: the generator itself. */
  readonly cpuMicros: Readonly<Record<string, number>>
}
