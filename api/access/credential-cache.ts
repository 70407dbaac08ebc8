/**
 * Who presented credentials are, remembered for seconds, so that a quota check waits for no database. What is remembered too
 * long is the price: a key that is revoked, or a user who is disabled, goes on for `cacheMs` at most.
 */
import { RetryableError } from '../../domain/errors.ts'
import type { Principal } from './access-rule.ts'

export interface Known {
  readonly principal: Principal
  /** From then on the credential opens nothing, ms; null: never. */
  readonly expiresAt: number | null
}

/** By hash of the credential. Null: nobody's. Throws `RetryableError` when it can't be known now. */
export type LookUp = () => Promise<Known | null>

interface Remembered {
  readonly known: Known
  readonly at: number
  /** The look-up after it failed: until one succeeds, nobody waits for another. */
  isOutdated: boolean
}

type Outcome = { readonly known: Known | null } | { readonly error: unknown }

/** Of known and of unknown credentials each: about 5 MB. Unknown ones never push a known one out. */
const REMEMBERED_MAX = 10_000
/**
 * While its store does not answer, a credential that was good goes on for so long. Nobody can revoke one meanwhile, and calls
 * to a model don't stop because a database does.
 */
export const GRACE_MS = 600_000

export class CredentialCache {
  readonly #cacheMs: number
  readonly #now: () => number
  readonly #known = new Map<string, Remembered>()
  readonly #unknown = new Map<string, number>()
  readonly #pending = new Map<string, Promise<Outcome>>()

  constructor(options: { readonly cacheMs: number; readonly now: () => number }) {
    this.#cacheMs = options.cacheMs
    this.#now = options.now
  }

  /** What is remembered and young enough to be believed, null: that it is nobody's; undefined: a look-up is needed. */
  recall(hash: string): Principal | null | undefined {
    const remembered = this.#known.get(hash)
    // One that has expired since is looked up: only that tells why it is refused.
    if (remembered !== undefined && this.#isFresh(remembered.at)) return this.#living(remembered.known) ?? undefined
    const unknownSince = this.#unknown.get(hash)
    return unknownSince !== undefined && this.#isFresh(unknownSince) ? null : undefined
  }

  /** Asks the store, once for all who wait for the same credential. */
  async ask(hash: string, lookUp: LookUp): Promise<Principal | null> {
    const pending = this.#pending.get(hash) ?? this.#begin(hash, lookUp)
    const remembered = this.#known.get(hash)
    if (remembered?.isOutdated && this.#isInGrace(remembered)) return this.#living(remembered.known)
    const outcome = await pending
    if ('error' in outcome) throw outcome.error
    return this.#living(outcome.known)
  }

  #begin(hash: string, lookUp: LookUp): Promise<Outcome> {
    const outcome = this.#settle(hash, lookUp)
    this.#pending.set(hash, outcome)
    return outcome
  }

  /** Never rejects: nobody may be waiting. */
  async #settle(hash: string, lookUp: LookUp): Promise<Outcome> {
    try {
      const known = await lookUp()
      this.#remember(hash, known)
      return { known }
    } catch (error) {
      const remembered = this.#known.get(hash)
      if (!(error instanceof RetryableError) || remembered === undefined || !this.#isInGrace(remembered)) {
        return { error }
      }
      remembered.isOutdated = true
      return { known: remembered.known }
    } finally {
      this.#pending.delete(hash)
    }
  }

  #remember(hash: string, known: Known | null): void {
    this.#known.delete(hash)
    this.#unknown.delete(hash)
    if (known === null) keep(this.#unknown, hash, this.#now())
    else keep(this.#known, hash, { known, at: this.#now(), isOutdated: false })
  }

  #living(known: Known | null): Principal | null {
    if (known === null || (known.expiresAt !== null && known.expiresAt <= this.#now())) return null
    return known.principal
  }

  #isFresh(at: number): boolean {
    return at + this.#cacheMs > this.#now()
  }

  #isInGrace({ at }: Remembered): boolean {
    return at + GRACE_MS > this.#now()
  }
}

/** The oldest goes: whoever still comes is looked up again. */
function keep<T>(map: Map<string, T>, hash: string, value: T): void {
  const [oldest] = map.keys()
  if (map.size >= REMEMBERED_MAX && oldest !== undefined) map.delete(oldest)
  map.set(hash, value)
}
