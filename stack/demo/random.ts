/** A seeded source of numbers (mulberry32): the same seed, the same traffic. */
export class Random {
  #state: number

  constructor(seed: number) {
    this.#state = seed >>> 0
  }

  /** In [0, 1). */
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0
    let t = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296
  }

  /** Whole, in [0, below). */
  below(below: number): number {
    return Math.floor(this.next() * below)
  }

  /** In [0, below), small ones far more often: rank r about as often as 1 / (r + 1). */
  skewed(below: number): number {
    return Math.floor((below + 1) ** this.next()) - 1
  }
}
