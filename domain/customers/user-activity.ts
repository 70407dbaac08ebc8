/** Which users did something, by calling the API or by usage in their name: told in passing, to the minute. */

export interface SeenUser {
  readonly customerId: string
  readonly userId: string
  /** ms. */
  readonly at: number
}

export interface UserActivity {
  /** Raises no version, never goes back, and leaves out users it does not know: usage names whomever its sender likes. */
  noteSeen(users: readonly SeenUser[]): Promise<void>
  /** How many users were seen at or after each of these instants, ms. */
  countSince(instants: readonly number[]): Promise<readonly number[]>
}

/** Users beyond these, between two notes, are left out: they are seen again. */
const SEEN_MAX = 100_000

/** Gathers who was seen, so that a busy user costs one write a minute. */
export class SeenUsers {
  #seen = new Map<string, SeenUser>()

  saw(user: SeenUser): void {
    const key = `${user.customerId}\u0000${user.userId}`
    const before = this.#seen.get(key)
    if (before === undefined ? this.#seen.size < SEEN_MAX : before.at < user.at) this.#seen.set(key, user)
  }

  /** Those seen since the last call. */
  take(): readonly SeenUser[] {
    const seen = [...this.#seen.values()]
    this.#seen = new Map()
    return seen
  }
}
