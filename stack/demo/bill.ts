/**
 * Bills the demo's customers for their first month, as if it were over: the clock of renewal and billing is a month ahead, everything
 * else is as it is. What each has to pay is reckoned a second time here, by plain arithmetic on what the demo sent, in another way
 * than billing does: nothing of rating is imported.
 */
import { execFile } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { renewDueSubscriptions } from '../../api/subscriptions/renew-subscriptions.ts'
import { EntityDatabase } from '../../sql/connect-slonik.ts'
import { PostgresCustomerStore } from '../../sql/customers/customer-store.ts'
import { PostgresPlanStore } from '../../sql/subscriptions/plan-store.ts'
import { PostgresSubscriptionStore } from '../../sql/subscriptions/subscription-store.ts'
import { projectFolder } from '../machine/native-server.ts'
import { AMOUNTS, type DemoCustomer, INCLUDED_TOKENS } from './customers.ts'
import { type DemoApi, send } from './demo-api.ts'
import type { Account, DemoTokens } from './events.ts'

/** On top of every price, for the demo's country. */
export const DEMO_TAX_RATES = 'FR:20'
const TAX_PERCENT = 20n
/** Longer than the longest month, and the grace after it. */
const AHEAD_MS = 32 * 86_400_000
const PAGE_MAX = 200

export interface Billed {
  readonly invoices: number
  /** Of all of them, in cents. */
  readonly totalMinor: bigint
  readonly expectedMinor: bigint
  readonly parked: number
  readonly seconds: number
  /** The largest of them. */
  readonly pdf: string
  readonly faults: readonly string[]
}

interface InvoiceTold {
  readonly id: string
  readonly number: string
  readonly customerId: string
  readonly totalMinor: string
}

export interface BillAsk {
  readonly api: DemoApi
  readonly environment: Readonly<Record<string, string>>
  readonly customers: readonly DemoCustomer[]
  readonly account: Account
  /** Where the PDF goes. */
  readonly folder: string
}

export async function billCustomers({ api, environment, customers, account, folder }: BillAsk): Promise<Billed> {
  const at = Date.now() + AHEAD_MS
  await renewAsOf(environment.DATABASE_URL ?? '', at)
  const ran = await runBilling(environment, at)
  const invoices = await listInvoices(api)
  const faults: string[] = []
  let [totalMinor, expectedMinor] = [0n, 0n]
  for (const { id, periodStart, baseFeeMinor } of customers) {
    if (periodStart === null) continue
    const expected = expectedOf(baseFeeMinor, account.billable.get(id))
    const totals = invoices.filter(({ customerId }) => customerId === id).map((invoice) => BigInt(invoice.totalMinor))
    const found = totals.reduce((sum, total) => sum + total, 0n)
    totalMinor += found
    expectedMinor += expected
    if (found !== expected) faults.push(`${id} was invoiced ${found} cents instead of ${expected}`)
    if (totals.length !== 2) faults.push(`${id} has ${totals.length} invoices instead of 2`)
  }
  if (ran.parked > 0) faults.push(`${ran.parked} customers could not be billed`)
  const pdf = await fetchPdf(api, largestOf(invoices), folder)
  return { invoices: invoices.length, totalMinor, expectedMinor, parked: ran.parked, seconds: ran.seconds, pdf, faults }
}

/** Two invoices: where the subscription began the base fee alone, a month later the usage and the next fee. Tax is rounded on each. */
function expectedOf(baseFeeMinor: number, used: DemoTokens | undefined): bigint {
  const fee = BigInt(baseFeeMinor)
  const usage = Object.entries(AMOUNTS).reduce((sum, [pool, amount]) => {
    const tokens = used?.[pool as keyof DemoTokens] ?? 0
    // Cents for a million tokens; rounded half up to whole cents, once a pool.
    const charged = BigInt(Math.max(0, tokens - INCLUDED_TOKENS)) * BigInt(amount.replace('.', ''))
    return sum + (charged + 500_000n) / 1_000_000n
  }, 0n)
  return withTax(fee) + withTax(fee + usage)
}

function withTax(cents: bigint): bigint {
  return cents + (cents * TAX_PERCENT + 50n) / 100n
}

async function renewAsOf(databaseUrl: string, at: number): Promise<void> {
  const database = new EntityDatabase({ databaseUrl, applicationName: 'tokenmeter-demo' })
  const dependencies = {
    subscriptionStore: new PostgresSubscriptionStore(database),
    planStore: new PostgresPlanStore(database),
    customerStore: new PostgresCustomerStore(database),
    now: () => at
  }
  try {
    for (;;) {
      const { renewed, failed } = await renewDueSubscriptions(dependencies, () => false)
      if (failed.length > 0) throw new Error('a renewal failed', { cause: failed[0]?.error })
      if (renewed === 0) return
    }
  } finally {
    await database.close()
  }
}

/** By the command that an operator has. */
async function runBilling(
  environment: Readonly<Record<string, string>>,
  at: number
): Promise<{ readonly parked: number; readonly seconds: number }> {
  const command = join(projectFolder(), 'stack', 'commands', 'operations', 'billing.ts')
  const args = [command, 'run', '--as-of', new Date(at).toISOString(), '--even-in-the-future', '--json']
  const stdout = await promisify(execFile)(process.execPath, args, { env: { ...process.env, ...environment } }).then(
    (ended) => ended.stdout,
    stdoutDespiteParked
  )
  const { parkedInAll, seconds } = JSON.parse(stdout.trim().split('\n').at(-1) ?? '')
  return { parked: parkedInAll, seconds }
}

/** Exit code 2 is no failure of the command: something is parked, and the page says so. */
function stdoutDespiteParked(error: unknown): string {
  if (error instanceof Error && 'code' in error && error.code === 2 && 'stdout' in error) return String(error.stdout)
  throw error
}

async function listInvoices(api: DemoApi): Promise<readonly InvoiceTold[]> {
  const { data } = await send<{ data: readonly InvoiceTold[] }>(api, `GET /v1/invoices?limit=${PAGE_MAX}`)
  return data
}

function largestOf(invoices: readonly InvoiceTold[]): InvoiceTold {
  const [largest] = invoices.toSorted((a, b) => Number(BigInt(b.totalMinor) - BigInt(a.totalMinor)))
  if (largest === undefined) throw new Error('the demo has no invoices')
  return largest
}

async function fetchPdf(api: DemoApi, { id, number }: InvoiceTold, folder: string): Promise<string> {
  const answer = await fetch(`${api.url}/v1/invoices/${id}/pdf`, { headers: { authorization: `Bearer ${api.key}` } })
  if (!answer.ok) throw new Error(`the PDF of ${number}: ${answer.status} ${await answer.text()}`)
  mkdirSync(folder, { recursive: true })
  const path = join(folder, `${number}.pdf`)
  writeFileSync(path, Buffer.from(await answer.arrayBuffer()))
  return path
}
