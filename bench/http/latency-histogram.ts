/** Latencies in an HDR histogram: every one is kept, to three digits, so that the slowest in a thousand is no estimate. */
import { build } from 'hdr-histogram-js'

/** What takes longer counts as this long. */
export const LATENCY_MAX_MS = 120_000
const MICROS_PER_MS = 1_000

export class LatencyHistogram {
  readonly #micros = build({
    lowestDiscernibleValue: 1,
    highestTrackableValue: LATENCY_MAX_MS * MICROS_PER_MS,
    numberOfSignificantValueDigits: 3,
    bitBucketSize: 32,
    autoResize: false
  })

  record(ms: number): void {
    this.#micros.recordValue(Math.round(Math.min(Math.max(ms, 0), LATENCY_MAX_MS) * MICROS_PER_MS))
  }

  get count(): number {
    return this.#micros.totalCount
  }

  get maxMs(): number {
    return this.#micros.maxValue / MICROS_PER_MS
  }

  /** The latency, ms, that this share of all did not exceed: 0.999 is the slowest in a thousand. 0 when nothing was recorded. */
  quantileMs(share: number): number {
    return this.#micros.getValueAtPercentile(share * 100) / MICROS_PER_MS
  }
}
