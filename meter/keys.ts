/**
 * The key schema of the meter, and the only place that spells a key. A shard's keys carry one hash tag, so that a Redis
 * Cluster keeps them on one node. All but the state name the build they belong to: a shard built anew is written under the
 * keys of a new build, and becomes the one in force by one change of the state.
 *
 *   <prefix>:{m<shard>}:state                                 who may use the shard, cursors, times
 *   <prefix>:{m<shard>}:<build>:verdicts:<partition>          offset → verdict other than counted, until L has passed it
 *   <prefix>:{m<shard>}:<build>:cuts                          cuts that wait for the ledger
 *   <prefix>:{m<shard>}:<build>:waiting                       which partitions' part of it they wait for
 *   <prefix>:{m<shard>}:<build>:mark:<generation>:<bucket>    identity → fingerprint of the content
 *   <prefix>:{m<shard>}:<build>:<kind>:<customer>             limits, used, holds, expiry (of holds)
 */
export class ShardKeys {
  readonly #root: string
  readonly #built: string
  readonly state: string
  readonly cuts: string
  readonly waiting: string

  constructor(prefix: string, shard: number, build: string) {
    this.#root = `${prefix}:{m${shard}}`
    this.#built = `${this.#root}:${build}`
    this.state = `${this.#root}:state`
    this.cuts = `${this.#built}:cuts`
    this.waiting = `${this.#built}:waiting`
  }

  verdicts(partition: number): string {
    return `${this.#built}:verdicts:${partition}`
  }

  mark(generation: number, bucket: number): string {
    return `${this.#built}:mark:${generation}:${bucket}`
  }

  limits(customerId: string): string {
    return `${this.#built}:limits:${customerId}`
  }

  used(customerId: string): string {
    return `${this.#built}:used:${customerId}`
  }

  holds(customerId: string): string {
    return `${this.#built}:holds:${customerId}`
  }

  expiry(customerId: string): string {
    return `${this.#built}:expiry:${customerId}`
  }

  /** All that the quota scripts touch of a customer, in the order of their KEYS. */
  ofCustomer(customerId: string): string[] {
    return [this.state, this.limits(customerId), this.used(customerId), this.holds(customerId), this.expiry(customerId)]
  }

  /** Of `set-limits`, in the order of its KEYS. */
  ofLimits(customerId: string): string[] {
    return [this.state, this.limits(customerId), this.used(customerId), this.holds(customerId), this.cuts, this.waiting]
  }

  /** Of the scripts that seed a cut or begin it again, in the order of their KEYS. */
  ofCut(customerId: string): string[] {
    return [this.state, this.cuts, this.waiting, this.used(customerId)]
  }

  /** Of the scripts by which a partition's consumer goes on, in the order of their KEYS; those of a batch follow. */
  ofPartition(partition: number): string[] {
    return [this.state, this.verdicts(partition), this.cuts, this.waiting]
  }

  /** Matches every key of the shard, of whatever build. */
  everyKeyOfShard(): string {
    return `${this.#root.replaceAll(/[[\]*?\\]/g, '\\$&')}:*`
  }

  /** The build to which a key of the shard belongs; null for the state, which belongs to none. */
  buildOf(key: string): string | null {
    return /^(\d+):/.exec(key.slice(this.#root.length + 1))?.[1] ?? null
  }
}
