// Changes that turn out, half-way through their transaction, to be refused: another version stands there, a name is taken.
// The transaction is left by a throw, so that nothing of it stays, and whoever began it gets the outcome as a value.

import { UniqueIntegrityConstraintViolationError } from 'slonik'

/** `throw refuse(outcome)` inside of `work` rolls back what it began and answers `outcome`. */
export async function refusable<Outcome>(
  work: (refuse: (outcome: Outcome) => Error) => Promise<Outcome>
): Promise<Outcome> {
  const refusal = new Refusal<Outcome>()
  try {
    return await work((outcome) => refusal.of(outcome))
  } catch (error) {
    if (error === refusal && refusal.refused !== null) return refusal.refused.outcome
    throw error
  }
}

/** Whether an error is of a row that another one kept out. */
export function isTaken(error: unknown, constraint: string): boolean {
  return error instanceof UniqueIntegrityConstraintViolationError && error.constraint === constraint
}

class Refusal<Outcome> extends Error {
  refused: { readonly outcome: Outcome } | null = null

  of(outcome: Outcome): this {
    this.refused = { outcome }
    this.message = `refused: ${String(outcome)}`
    return this
  }
}
