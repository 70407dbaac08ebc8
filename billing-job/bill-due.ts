/**
 * A billing run: rounds over what is due until nothing is left, each a transaction of the store. How many run at once, here or in
 * other processes, doesn't matter: SQL decides what is due, and gives each boundary to one of them. A run that dies leaves its round
 * undone and everything else done.
 */
import type { BillingGate, LedgerStretch } from '../domain/billing/invoices/billing-gate.ts'
import type {
  BillingRound,
  BillingStore,
  Judging,
  RoundOutcome,
  ToldStory
} from '../domain/billing/invoices/billing-store.ts'
import type { BoundaryStory } from '../domain/billing/invoices/boundary-story.ts'
import { type Drafted, draftInvoice } from '../domain/billing/invoices/draft-invoice.ts'
import type { Issuer } from '../domain/billing/invoices/invoice.ts'
import type { ParkReason } from '../domain/billing/invoices/park-reason.ts'
import { type TaxTable, taxRatesOf } from '../domain/billing/tax-table.ts'
import { RetryableError } from '../domain/errors.ts'
import { TOKEN_POOLS, type TokenPool } from '../domain/tokens/token-pools.ts'

/** How invoices are made: of the configuration, the same in every process. */
export interface BillingTerms {
  /** How long after a boundary usage of the period may still arrive, ms. What comes later is an adjustment. */
  readonly graceMs: number
  readonly adjustmentWindowMs: number
  readonly numberPrefix: string
  readonly issuer: Issuer
  readonly asDrafts: boolean
  readonly taxes: TaxTable
}

export interface BillingDependencies {
  readonly store: BillingStore
  readonly gate: BillingGate
  readonly terms: BillingTerms
  /** Milliseconds since the epoch. */
  readonly now: () => number
}

export interface RunAsk {
  /** Boundaries a round. */
  readonly batchSize: number
  /** Rounds at once. */
  readonly concurrency: number
  /** One subscription alone; null: all. */
  readonly subscriptionId: string | null
  /** Told after each round; the counts are those of the run so far. */
  readonly onProgress: (soFar: RoundOutcome) => void
  /** Looked at between rounds. */
  readonly isStopped: () => boolean
}

/** Bills everything that is due when it begins. Throws the first error of a round, when the others have ended theirs. */
export async function billDue(dependencies: BillingDependencies, ask: RunAsk): Promise<RoundOutcome> {
  const { store, terms } = dependencies
  const startedAt = dependencies.now()
  const dueBefore = startedAt - terms.graceMs
  const total = { invoiced: 0, empty: 0, parked: 0 }
  const lane = async (): Promise<void> => {
    while (!ask.isStopped()) {
      const round: BillingRound = {
        dueBefore,
        startedAt,
        now: dependencies.now(),
        limit: ask.batchSize,
        adjustmentWindowMs: terms.adjustmentWindowMs,
        numberPrefix: terms.numberPrefix,
        issuer: terms.issuer,
        asDrafts: terms.asDrafts,
        subscriptionId: ask.subscriptionId
      }
      const outcome = await store.billDue(round, judgingOf(dependencies))
      if (outcome === null) return
      total.invoiced += outcome.invoiced
      total.empty += outcome.empty
      total.parked += outcome.parked
      ask.onProgress({ ...total })
    }
  }
  const lanes = await Promise.allSettled(Array.from({ length: ask.concurrency }, lane))
  const failed = lanes.find((ended) => ended.status === 'rejected')
  if (failed !== undefined) throw failed.reason
  return total
}

/** One that can't be drafted does not keep the others waiting; a store that is away ends the round. */
function judgingOf({ gate, terms }: BillingDependencies): Judging {
  const untilOf = (stories: readonly BoundaryStory[]) =>
    Math.max(...stories.map(({ boundary }) => boundary.at)) + terms.graceMs
  return {
    behind: (stories) => gate.ledgerBehind(untilOf(stories)),
    async judge(told) {
      const differences = await gate.differences(told.flatMap(ledgerStretches), untilOf(told.map(({ story }) => story)))
      return told.map((one) => {
        const difference = differences.get(one.story.boundary.customerId)
        return difference === undefined ? draft(one, terms) : { parked: difference }
      })
    }
  }
}

function draft({ story, usage }: ToldStory, { taxes }: Pick<BillingTerms, 'taxes'>): Drafted {
  try {
    return draftInvoice({ story, usage, taxRates: taxRatesOf(taxes, story.customer.country) })
  } catch (error) {
    if (error instanceof RetryableError) throw error
    const reason: ParkReason = { code: 'failed', message: error instanceof Error ? error.message : String(error) }
    return { parked: reason }
  }
}

function ledgerStretches({ story, usage }: ToldStory): readonly LedgerStretch[] {
  return usage.map(({ from, to, rows }) => {
    const models = new Map<string, Record<TokenPool, bigint>>()
    for (const { model, tokens } of rows) {
      const sums = models.get(model) ?? { input: 0n, cacheRead: 0n, cacheWrite: 0n, output: 0n, reasoning: 0n }
      for (const pool of TOKEN_POOLS) sums[pool] += BigInt(tokens[pool])
      models.set(model, sums)
    }
    return { customerId: story.boundary.customerId, from, to, models }
  })
}
