/**
 * When an invoice is charged again, when its customer is reminded, and when it is given up. All times count from its due date; whoever
 * comes late, after a weekend without a worker, keeps the distances: a card is not charged five times in one minute.
 *
 *   through a provider   due ── 1 d ── 3 d ── 5 d ── 7 d            ── 7 d after the last failed charge ──► uncollectible
 *   by hand              due ────── 7 d ────── 14 d                 ── 30 d after the last reminder ──────► uncollectible
 */

const DAY_MS = 86_400_000

/**
 * Days after the due date of each charge. Most declines that end at all end within a week, with the next salary or limit; more
 * attempts than these are counted against us by the networks.
 */
export const CHARGE_DAYS = [0, 1, 3, 5, 7] as const
/** Days after the due date of each reminder to a customer who pays by hand. */
export const REMINDER_DAYS = [0, 7, 14] as const
/** Days after the last charge failed until the invoice is uncollectible: time to name another card. */
export const GIVE_UP_AFTER_CHARGE_DAYS = 7
/** Days after the last reminder until the invoice is uncollectible: a transfer between banks may take two weeks of them. */
export const GIVE_UP_AFTER_REMINDER_DAYS = 30
/** ms after the due date that an invoice paid by hand may be open before its subscription is past due: money on its way. */
export const OVERDUE_BY_HAND_MS = DAY_MS
/** ms until a provider is asked again about a charge that was pending. Its webhook tells sooner, as a rule. */
export const PENDING_ASKED_AGAIN_MS = 3_600_000

/** What collecting has done so far about an invoice. */
export interface Attempts {
  /** ms. */
  readonly dueAt: number
  /** Charges that failed since the customer last named an account. */
  readonly charges: number
  readonly reminders: number
}

export type CollectStep =
  | { readonly kind: 'charge' }
  /** Counted from 1. */
  | { readonly kind: 'remind'; readonly number: number }
  | { readonly kind: 'give-up' }

/** What is to be done when an invoice comes up. */
export function nextStep({ charges, reminders }: Attempts, isByHand: boolean): CollectStep {
  if (isByHand)
    return reminders < REMINDER_DAYS.length ? { kind: 'remind', number: reminders + 1 } : { kind: 'give-up' }
  return charges < CHARGE_DAYS.length ? { kind: 'charge' } : { kind: 'give-up' }
}

/** When an invoice comes up again of which one more charge has failed, now; ms. `charges` counts that one. */
export function afterFailedCharge({ dueAt, charges }: Attempts, now: number): number {
  return comesUpAgain({ dueAt, now, done: charges, days: CHARGE_DAYS, lastDays: GIVE_UP_AFTER_CHARGE_DAYS })
}

/** The same of a reminder. */
export function afterReminder({ dueAt, reminders }: Attempts, now: number): number {
  return comesUpAgain({ dueAt, now, done: reminders, days: REMINDER_DAYS, lastDays: GIVE_UP_AFTER_REMINDER_DAYS })
}

function comesUpAgain({
  dueAt,
  now,
  done,
  days,
  lastDays
}: {
  readonly dueAt: number
  readonly now: number
  readonly done: number
  readonly days: readonly number[]
  readonly lastDays: number
}): number {
  const [last, next] = [days[done - 1], days[done]]
  if (last === undefined || next === undefined) return now + lastDays * DAY_MS
  return Math.max(dueAt + next * DAY_MS, now + (next - last) * DAY_MS)
}
