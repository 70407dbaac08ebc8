/** Latencies of the last moments, exact: there are few of them, and what a histogram gathers can't be taken out of it. */
export class RecentTimes {
  readonly #keepMs: number
  #times: { readonly ms: number; readonly at: number }[] = []

  constructor(keepMs: number) {
    this.#keepMs = keepMs
  }

  add(ms: number, at: number): void {
    this.#times.push({ ms, at })
  }

  /** In the order of the shares; 0 when there is none. Forgets what is older. */
  quantiles(shares: readonly number[], now: number): readonly number[] {
    this.#times = this.#times.filter(({ at }) => at > now - this.#keepMs)
    const sorted = this.#times.map(({ ms }) => ms).sort((a, b) => a - b)
    return shares.map((share) => sorted[Math.ceil(sorted.length * share) - 1] ?? 0)
  }
}
