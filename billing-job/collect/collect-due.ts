/**
 * A collect run: invoices that are due are charged, reminded of, or given up, until none is left or its time is up. How many run at
 * once doesn't matter: the store gives each invoice to one of them.
 *
 * Where it dies: before `begin` nothing was done, and the invoice comes up again after the lease. Between `begin` and `settle` the
 * payment is pending, whatever the provider did: whoever takes the invoice next asks for the same charge under the same key, and is
 * told what became of it. A provider that doesn't answer is the same case. After `settle` all is written.
 */
import { randomUUIDv7 } from 'node:crypto'
import { nextStep } from '../../domain/billing/payments/collection-schedule.ts'
import type { Payment } from '../../domain/billing/payments/payment.ts'
import type { ChargeOutcome, PaymentProvider } from '../../domain/billing/payments/payment-provider.ts'
import type { Collectable, CollectStore } from '../../domain/billing/payments/payment-store.ts'
import { RetryableError } from '../../domain/errors.ts'

/**
 * How long an invoice is one run's: longer than its batch takes when the provider answers nothing (25 invoices by 4 lanes at 15 s: under
 * two minutes). One that takes longer is asked for twice, under one key. It is also the pause before a charge without an answer is asked
 * about again.
 */
export const COLLECT_LEASE_MS = 600_000

/**
 * How long a run takes further batches: well under the lease, or it would meet what was not answered again, and never end while the
 * provider hangs. The next run goes on.
 */
export const COLLECT_LIMIT_MS = 300_000

export interface CollectDependencies {
  readonly collectStore: CollectStore
  /** Null: everybody pays by hand. */
  readonly provider: PaymentProvider | null
  /** Milliseconds since the epoch. */
  readonly now: () => number
  /** Told of an invoice that could not be collected; it comes up again after the lease. */
  readonly onFault: (fault: { readonly invoiceId: string; readonly error: unknown }) => void
}

export interface CollectAsk {
  /** Invoices taken at once. */
  readonly batchSize: number
  /** Of a batch, at the provider at once. */
  readonly concurrency: number
  /** Looked at between invoices. */
  readonly isStopped: () => boolean
  /** Told after each batch what became of its invoices. */
  readonly onBatch: (counts: CollectCounts) => void
}

const STEPS = ['succeeded', 'pending', 'failed', 'reminded', 'givenUp', 'skipped', 'unanswered', 'faulty'] as const
type Step = (typeof STEPS)[number]

/**
 * Charges by what the provider said; `skipped`: another run did it, or there was nothing left to do; `unanswered`: it is asked about
 * again; `faulty`: somebody has to look.
 */
export type CollectCounts = Readonly<Record<Step, number>>

/** Throws what the store throws: without it nothing can be collected. */
export async function collectDue(dependencies: CollectDependencies, ask: CollectAsk): Promise<CollectCounts> {
  const { collectStore, now } = dependencies
  const endsAt = now() + COLLECT_LIMIT_MS
  const total = noCounts()
  while (!ask.isStopped() && now() < endsAt) {
    const taken = await collectStore.take({ now: now(), leaseMs: COLLECT_LEASE_MS, limit: ask.batchSize })
    if (taken.length === 0) break
    const counts = noCounts()
    const waiting = taken.values()
    const lane = async (): Promise<void> => {
      for (const one of waiting) {
        if (ask.isStopped()) return
        counts[await collectOne(one, dependencies)] += 1
      }
    }
    const lanes = await Promise.allSettled(Array.from({ length: ask.concurrency }, lane))
    ask.onBatch(counts)
    for (const step of STEPS) total[step] += counts[step]
    const broken = lanes.find((ended) => ended.status === 'rejected')
    if (broken !== undefined) throw broken.reason
  }
  return total
}

function noCounts(): Record<Step, number> {
  return { succeeded: 0, pending: 0, failed: 0, reminded: 0, givenUp: 0, skipped: 0, unanswered: 0, faulty: 0 }
}

async function collectOne(one: Collectable, dependencies: CollectDependencies): Promise<Step> {
  const { collectStore, provider, now, onFault } = dependencies
  const { id: invoiceId } = one.invoice
  const account = provider !== null && one.account?.provider === provider.name ? one.account : null
  if (one.pending !== null) return charge(one, one.pending, dependencies)
  const step = nextStep(one.attempts, account === null)
  switch (step.kind) {
    case 'remind':
      return (await collectStore.remind(invoiceId, step.number, now())) ? 'reminded' : 'skipped'
    case 'give-up':
      return (await collectStore.giveUp(invoiceId, now())) ? 'givenUp' : 'skipped'
    case 'charge': {
      if (account === null) throw new Error(`invoice ${invoiceId} is to be charged to no account`)
      const payment = await collectStore.begin({ paymentId: randomUUIDv7(), invoiceId, account, now: now() })
      return payment === null ? 'skipped' : charge(one, payment, { collectStore, provider, now, onFault })
    }
  }
}

/** Asks for a charge that is written as pending: for the first time, or for what became of it. */
async function charge(one: Collectable, payment: Payment, dependencies: CollectDependencies): Promise<Step> {
  const { collectStore, provider, now, onFault } = dependencies
  let outcome: ChargeOutcome
  try {
    outcome = await askProvider(provider, one, payment)
  } catch (error) {
    onFault({ invoiceId: one.invoice.id, error })
    return error instanceof RetryableError ? 'unanswered' : 'faulty'
  }
  await collectStore.settle(payment.id, outcome, now())
  return outcome.outcome
}

async function askProvider(
  provider: PaymentProvider | null,
  { invoice }: Collectable,
  payment: Payment
): Promise<ChargeOutcome> {
  const { id, charged, reference, customerId } = payment
  if (provider === null || provider.name !== payment.provider || charged === null) {
    throw new Error(
      `payment ${id} is pending at ${payment.provider}, which is not configured: nobody knows how it ended`
    )
  }
  if (reference !== null) return provider.chargeStatus(reference)
  return provider.charge({
    idempotencyKey: id,
    amountMinor: payment.amountMinor,
    currency: payment.currency,
    account: { customerId, ...charged },
    invoiceId: invoice.id,
    invoiceNumber: invoice.number ?? invoice.id
  })
}
