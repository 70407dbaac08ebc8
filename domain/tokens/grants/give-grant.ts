/** From what somebody wants to give to a customer, to a grant, or to every reason why it is none, each with its field. */
import type { BodyFault } from '../../body-place.ts'
import type { Customer } from '../../customers/customer.ts'
import { raisedBy } from '../effective/raise-limits.ts'
import type { Limit } from '../limit.ts'
import { QUARTER_HOUR_MS, snapToQuarter } from '../quarter-hour.ts'
import type { Grant, GrantAmount, GrantSource } from './grant.ts'

export interface GrantAsk {
  /** Of tokens and money one is null. */
  readonly tokens: number | null
  readonly money: { readonly amountMinor: bigint; readonly currency: string } | null
  readonly priority: number
  readonly source: GrantSource
  /** Ms; null: from the current quarter on. */
  readonly effectiveAt: number | null
  readonly expiresAt: number | null
  readonly limitId: string | null
}

export interface GrantContext {
  /** UUID v7. */
  readonly id: string
  readonly customer: Pick<Customer, 'id' | 'currency'>
  /** The customer's, as they are without grants. */
  readonly limits: readonly Limit[]
  readonly now: number
}

/** It never begins before the current quarter: what was used earlier has been answered for. */
export function giveGrant(
  ask: GrantAsk,
  context: GrantContext
): { readonly grant: Grant } | { readonly faults: readonly BodyFault[] } {
  const { id, customer, now } = context
  const effectiveAt = ask.effectiveAt ?? snapToQuarter(now)
  const amount = amountOf(ask)
  const faults = [
    ...amountFaults(ask, context),
    ...timeFaults({ ...ask, effectiveAt }, now),
    ...limitFaults(ask, context)
  ]
  if (amount === null || faults.length > 0) return { faults }
  const { priority, source, expiresAt, limitId } = ask
  return {
    grant: {
      id,
      customerId: customer.id,
      amount,
      priority,
      source,
      effectiveAt,
      expiresAt,
      limitId,
      revokedAt: null,
      burnt: 0n,
      settledUntil: null,
      version: 1,
      createdAt: now,
      updatedAt: now
    }
  }
}

function amountOf({ tokens, money }: GrantAsk): GrantAmount | null {
  if (money !== null) return { kind: 'money', ...money }
  return tokens === null ? null : { kind: 'tokens', tokens }
}

function amountFaults({ tokens, money }: GrantAsk, { customer }: GrantContext): readonly BodyFault[] {
  if ((tokens === null) === (money === null)) {
    return [{ field: 'tokens', message: 'must be there, or `money`, and not both' }]
  }
  if (money === null || money.currency === customer.currency) return []
  return [{ field: 'money.currency', message: `must be that of the customer's invoices, ${customer.currency}` }]
}

function timeFaults(
  { effectiveAt, expiresAt }: { readonly effectiveAt: number; readonly expiresAt: number | null },
  now: number
): readonly BodyFault[] {
  const faults: BodyFault[] = []
  const onGrid = (field: string, at: number) => {
    if (at % QUARTER_HOUR_MS !== 0) faults.push({ field, message: 'must be a full quarter of an hour' })
  }
  onGrid('effectiveAt', effectiveAt)
  if (effectiveAt < snapToQuarter(now)) {
    faults.push({ field: 'effectiveAt', message: 'must not lie before the current quarter of an hour' })
  }
  if (expiresAt === null) return faults
  onGrid('expiresAt', expiresAt)
  if (expiresAt <= Math.max(effectiveAt, now)) {
    faults.push({ field: 'expiresAt', message: 'must lie after now and after `effectiveAt`' })
  }
  return faults
}

function limitFaults(ask: GrantAsk, { limits }: GrantContext): readonly BodyFault[] {
  if (ask.limitId === null) return []
  if (ask.tokens === null) return [{ field: 'limitId', message: 'is of tokens: money raises no limit' }]
  if (raisedBy(ask, limits) !== null) return []
  return [
    {
      field: 'limitId',
      message: 'must name a limit of the customer on all its tokens, over a window that ends'
    }
  ]
}
