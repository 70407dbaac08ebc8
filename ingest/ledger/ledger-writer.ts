/**
 * What a session has counted and the ledger has yet to hold. Sums wait here and are written beside the counting, one write at a
 * time, each from where the one before ended: a slow Postgres delays bills, never a quota.
 */
import { RetryableError } from '../../domain/errors.ts'
import type { LedgerPosition, UsageLedger } from '../../domain/ports.ts'
import { tell } from '../channels.ts'
import { PendingUsage } from './pending-usage.ts'

export class LedgerWriter {
  readonly #ledger: Pick<UsageLedger, 'flush'>
  readonly #partition: number
  /** What the ledger's row says, by this session's own doing. */
  #flushed: LedgerPosition
  /** Counted since the last write began. */
  #pending = new PendingUsage()
  #recordsUnderWay = 0
  #underWay: Promise<void> | null = null
  #isFenced = false
  #failure: unknown = null

  constructor(ledger: Pick<UsageLedger, 'flush'>, partition: number, flushed: LedgerPosition) {
    this.#ledger = ledger
    this.#partition = partition
    this.#flushed = flushed
  }

  get flushed(): LedgerPosition {
    return this.#flushed
  }

  /** Where to add what is counted. */
  get pending(): PendingUsage {
    return this.#pending
  }

  /** Records whose effect the ledger is not known to hold. */
  get records(): number {
    return this.#pending.records + this.#recordsUnderWay
  }

  /**
   * Begins to write all up to the position, unless a write is under way. The ledger may be away: sums wait in memory, and quotas go
   * on. False when someone else moved L or raised a generation.
   */
  begin(to: LedgerPosition): boolean {
    if (this.#failure !== null) throw this.#failure
    if (this.#isFenced) return false
    if (this.#underWay === null && to.cursor !== this.#flushed.cursor) this.#underWay = this.#writeBeside(to)
    return true
  }

  /** Writes all up to the position, and resolves when it is there; false as above. */
  async finish(to: LedgerPosition): Promise<boolean> {
    await this.#underWay
    if (this.#failure !== null) throw this.#failure
    if (!this.#isFenced && to.cursor !== this.#flushed.cursor) await this.#write(to)
    return !this.#isFenced
  }

  /** Resolves when no write is under way. */
  async idle(): Promise<void> {
    await this.#underWay
  }

  async #writeBeside(to: LedgerPosition): Promise<void> {
    try {
      await this.#write(to)
    } catch (error) {
      if (error instanceof RetryableError) {
        tell('ledgerAway', { partition: this.#partition, waiting: this.#pending.records, error })
      } else {
        this.#failure = error
      }
    } finally {
      this.#underWay = null
    }
  }

  /** One transaction: sums, uncounted offsets and L. */
  async #write(to: LedgerPosition): Promise<void> {
    const partition = this.#partition
    const usage = this.#pending
    this.#pending = new PendingUsage()
    this.#recordsUnderWay = usage.records
    const rows = usage.rows()
    try {
      const outcome = await this.#ledger.flush({
        partition,
        from: this.#flushed,
        to,
        rows,
        uncounted: usage.uncounted()
      })
      if (outcome === 'fenced') {
        this.#isFenced = true
        tell('fenced', { partition, store: 'postgres' })
        return
      }
    } catch (error) {
      usage.absorb(this.#pending)
      this.#pending = usage
      throw error
    } finally {
      this.#recordsUnderWay = 0
    }
    this.#flushed = to
    tell('ledgerFlushed', { partition, cursor: to.cursor, rows, tokens: usage.tokens() })
  }
}
