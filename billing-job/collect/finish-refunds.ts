/**
 * Refunds that were begun and never heard of again: whoever asked for them died, or its provider did not answer. They are asked for
 * again under their keys, so that what was given back is written, and what was not is.
 */
import { randomUUIDv7 } from 'node:crypto'
import type { Actor } from '../../domain/audit/audit-record.ts'
import { settleRefund } from '../../domain/billing/payments/pay-invoice.ts'
import { MANUAL, type Payment, refundKeyOf } from '../../domain/billing/payments/payment.ts'
import { paymentToJson } from '../../domain/billing/payments/payment-json.ts'
import type { PaymentProvider, RefundOutcome } from '../../domain/billing/payments/payment-provider.ts'
import type { RefundStore, UnsettledRefund } from '../../domain/billing/payments/payment-store.ts'
import { type Change, PLATFORM, RepeatedRequest } from '../../domain/change.ts'

/** Longer than a request of the API takes: what is younger is still in hand there. */
const UNSETTLED_AFTER_MS = 300_000
const REFUNDS_MAX = 100
/** On the credit note: what the request said is gone with it. */
const REASON = 'Refund'
const ACTOR: Actor = { kind: 'service', id: 'billing', address: null, requestId: null }

export interface FinishDependencies {
  readonly refundStore: Pick<RefundStore, 'takeUnsettled' | 'settle'>
  readonly provider: PaymentProvider | null
  readonly creditNoteNumberPrefix: string
  readonly now: () => number
  /** Told of a refund that could not be finished; the next run tries again. */
  readonly onRefundFault: (fault: { readonly paymentId: string; readonly error: unknown }) => void
}

/** How many were settled. */
export async function finishRefunds(dependencies: FinishDependencies, isStopped: () => boolean): Promise<number> {
  const { refundStore, now } = dependencies
  let finished = 0
  const at = now()
  const taken = await refundStore.takeUnsettled({ before: at - UNSETTLED_AFTER_MS, now: at, limit: REFUNDS_MAX })
  for (const one of taken) {
    if (isStopped()) break
    if (await finish(one, dependencies)) finished += 1
  }
  return finished
}

async function finish({ begun, request }: UnsettledRefund, dependencies: FinishDependencies): Promise<boolean> {
  const { refundStore, provider, creditNoteNumberPrefix: numberPrefix, now, onRefundFault } = dependencies
  let outcome: RefundOutcome
  try {
    outcome = await ask(begun, provider)
  } catch (error) {
    onRefundFault({ paymentId: begun.id, error })
    return false
  }
  const next = settleRefund(begun, outcome, now())
  const note = outcome.outcome === 'failed' ? null : { id: randomUUIDv7(), numberPrefix, reason: REASON }
  const action = note === null ? 'payment.refund_failed' : 'payment.refunded'
  const change = changeBy(action, begun, next)
  // As the API answers it: its caller asks again under the same key, and is to be given the money once.
  const answer = { status: 200, headers: {}, body: JSON.stringify(paymentToJson(next)) }
  const answered = request === null || note === null ? change : { ...change, request: { ...request, answer } }
  try {
    return await refundStore.settle({ begun, next, note }, answered)
  } catch (error) {
    if (error instanceof RepeatedRequest) return false
    throw error
  }
}

async function ask(begun: Payment, provider: PaymentProvider | null): Promise<RefundOutcome> {
  const { id, reference, refundingMinor: amountMinor } = begun
  if (begun.provider === MANUAL) return { outcome: 'succeeded', reference: reference ?? '' }
  if (provider?.name !== begun.provider)
    throw new Error(`payment ${id} is refunded at ${begun.provider}, which is not configured`)
  if (reference === null) throw new Error(`payment ${id} succeeded, and its provider has no name for it`)
  return provider.refund({ idempotencyKey: refundKeyOf(begun), reference, amountMinor })
}

function changeBy(action: string, before: Payment, next: Payment): Change {
  const { id, customerId, updatedAt: at } = next
  const told = { before: paymentToJson(before), after: paymentToJson(next), at }
  const record = { id: randomUUIDv7(), customerId, actor: ACTOR, action, entity: { kind: 'payment', id }, ...told }
  return { reach: PLATFORM, audit: [record], events: [], request: null }
}
