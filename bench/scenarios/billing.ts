/**
 * A month is over, and its customers are billed: by the nightly run, many customers a statement, and by the job that comes to mind
 * first, statements for each customer. Both bill customers of their own in the same stores, with the same usage by place, and have to
 * come to the same amounts. A round takes two minutes, so there is one behind the warm-up; the spread over rounds is told by `npm run bench:billing`, run twice.
 */
import { billingTerms } from '../../billing-job/main.ts'
import { type BilledInstallation, openBilledInstallation } from '../billing/billed-installation.ts'
import { type BillingJob, billingConfigOf, openMonthlyRun } from '../billing/monthly-run.ts'
import { timeInvoicing } from '../billing/time-invoicing.ts'
import { BILLED_AT, writeCustomers } from '../billing/write-customers.ts'
import { serviceCpuMicros, serviceCpuSince } from '../harness/cpu-time.ts'
import type { Bench, OpenScenario, Reading, Scenario, Side } from '../harness/scenario.ts'
import { type NaiveBilling, openNaiveBilling } from '../members/naive-billing.ts'

/** As many as the goal names. */
const CUSTOMERS = 100_000
/** Ten of the run's transactions: what it asks once weighs little any more. */
const QUICK_CUSTOMERS = 3_000
/** Its rate stays the same however many there are: some ten seconds of it are enough. */
const ONE_BY_ONE = 1_000
const QUICK_ONE_BY_ONE = 300
/** Of the nightly run: statements are planned and code is warm after eight transactions. */
const WARM_UP_CUSTOMERS = 2_000
const QUICK_WARM_UP_CUSTOMERS = 500

export const billing: Scenario = {
  name: 'billing',
  rounds: 1,
  ratios: [
    {
      id: 'R13',
      title: 'the nightly run of 100,000 customers ÷ one customer after the other (1,000 of them), invoices/s',
      goal: { atLeast: 20 },
      of: (round) => round.figure('nightly', 'invoicesPerSecond') / round.figure('oneByOne', 'invoicesPerSecond')
    }
  ],
  open: openBilling
}

async function openBilling(bench: Bench): Promise<OpenScenario> {
  const installation = await openBilledInstallation(bench.urls)
  const { environment } = installation
  const places = bench.isQuick ? QUICK_ONE_BY_ONE : ONE_BY_ONE
  const amounts = new Map<number, bigint>()
  /** Of the first places of a crowd, which the other side's crowd of the round has as well. */
  const assertSameAmounts = async (round: number, crowd: string): Promise<void> => {
    const minor = await sumTotals(installation, { crowd, places })
    const other = amounts.get(round) ?? minor
    if (minor !== other) throw new Error(`the same usage was invoiced as ${minor} and as ${other} minor units`)
    amounts.set(round, minor)
  }
  const side = (name: string, customersOf: (round: number) => number, open: () => BillingJob): Side => ({
    name,
    run: async (round) => {
      const crowd = { name: `${name}-${round}`, customers: customersOf(round) }
      await writeCustomers(installation, crowd)
      const reading = await readInvoicing(crowd.customers, open())
      await assertSameAmounts(round, crowd.name)
      return reading
    }
  })
  return {
    sides: [
      side(
        'nightly',
        (round) => nightlyCustomers(bench, round),
        () => openMonthlyRun(environment)
      ),
      side(
        'oneByOne',
        () => places,
        () => openNaiveBilling(naiveTerms(environment))
      )
    ],
    close: installation.close
  }
}

function nightlyCustomers({ isQuick }: Bench, round: number): number {
  if (round === 0) return isQuick ? QUICK_WARM_UP_CUSTOMERS : WARM_UP_CUSTOMERS
  return isQuick ? QUICK_CUSTOMERS : CUSTOMERS
}

function naiveTerms(environment: BilledInstallation['environment']): NaiveBilling {
  const { DATABASE_URL = '', CLICKHOUSE_URL = '', CLICKHOUSE_DATABASE = '' } = environment
  const { numberPrefix, issuer } = billingTerms(billingConfigOf(environment))
  const stores = { databaseUrl: DATABASE_URL, clickhouseUrl: CLICKHOUSE_URL, clickhouseDatabase: CLICKHOUSE_DATABASE }
  return { ...stores, numberPrefix, issuer, now: BILLED_AT }
}

/** Both sides work in this process, which does nothing else but wait meanwhile. */
async function readInvoicing(customers: number, job: BillingJob): Promise<Reading> {
  try {
    const services = serviceCpuMicros()
    const { invoiced, seconds, statements, cpuMicros } = await timeInvoicing(job.bill)
    if (invoiced !== customers) throw new Error(`${invoiced} of ${customers} customers were invoiced`)
    const micros = [['node', cpuMicros] as const, ...Object.entries(serviceCpuSince(services))]
    return {
      invoicesPerSecond: invoiced / seconds,
      statementsPerInvoice: statements / invoiced,
      cpuMicrosPerInvoice: micros.reduce((sum, [, one]) => sum + one, 0) / invoiced,
      ...Object.fromEntries(micros.map(([name, one]) => [`${name}MicrosPerInvoice`, one / invoiced]))
    }
  } finally {
    await job.close()
  }
}

async function sumTotals(
  { database }: BilledInstallation,
  { crowd, places }: { readonly crowd: string; readonly places: number }
): Promise<bigint> {
  const [row] = await database.query<{ minor: string }>('sum the invoices of a crowd', {
    text: `select sum(total_minor)::text as minor
             from generate_series(1, $2::integer) as n join invoice on customer_id = 'customer-' || $1::text || '-' || n`,
    values: [crowd, places]
  })
  return BigInt(row?.minor ?? 0)
}
