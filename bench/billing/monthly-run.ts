/** A billing run over everything that is due, as the nightly job makes it: the product's store, gate and terms, of an installation's environment. */
import { billDue } from '../../billing-job/bill-due.ts'
import {
  type BillingConfig,
  billingTerms,
  connectBilling,
  loadBillingConfig,
  roundsOf
} from '../../billing-job/main.ts'
import type { RoundOutcome } from '../../domain/billing/invoices/billing-store.ts'
import { createLogger } from '../../monitoring/logger.ts'
import { BILLED_AT } from './write-customers.ts'

const NAME = 'tokenmeter-bench'

type Environment = Readonly<Record<string, string>>

export interface BillingJob {
  /** Bills everything that is due. */
  readonly bill: () => Promise<RoundOutcome>
  readonly close: () => Promise<void>
}

export function openMonthlyRun(environment: Environment): BillingJob {
  const config = billingConfigOf(environment)
  const stores = connectBilling(config, { name: NAME, logger: createLogger({ name: NAME, level: 'error' }) })
  return {
    bill: () =>
      billDue(
        { ...stores, terms: billingTerms(config), now: () => BILLED_AT },
        { ...roundsOf(config), subscriptionId: null, onProgress: () => undefined, isStopped: () => false }
      ),
    close: stores.close
  }
}

/** As a process with this environment would read it. What the bench starts afterwards inherits nothing of it. */
export function billingConfigOf(environment: Environment): BillingConfig {
  const before = new Map(Object.keys(environment).map((name) => [name, process.env[name]]))
  Object.assign(process.env, environment)
  try {
    return loadBillingConfig()
  } finally {
    for (const [name, value] of before) {
      if (value === undefined) delete process.env[name]
      else process.env[name] = value
    }
  }
}
