/**
 * `npm run bench:billing [-- --customers 100000] [--json]`: bills so many customers for a month, through the gate, on the real services.
 * Customers, periods and usage are written straight into the stores, the same usage into ledger and ClickHouse. Measured is what
 * comes after: invoices a second, statements to Postgres for each invoice, and the memory of this process on the way.
 */
import { Command } from 'commander'
import { createProgress } from '../stack/machine/progress.ts'
import { startServices } from '../stack/services.ts'
import { type BilledInstallation, openBilledInstallation } from './billing/billed-installation.ts'
import { openMonthlyRun } from './billing/monthly-run.ts'
import { timeInvoicing } from './billing/time-invoicing.ts'
import { LEDGER_ROWS_EACH, writeCustomers } from './billing/write-customers.ts'

const SAMPLE_MS = 500
const MIB = 1024 ** 2

export async function benchBilling(): Promise<void> {
  const { customers, json } = new Command('bench:billing')
    .option('--customers <number>', 'how many are billed', (text) => Number.parseInt(text, 10), 100_000)
    .option('--json', 'one JSON object at the end')
    .parse()
    .opts<{ customers: number; json?: boolean }>()
  const progress = createProgress()
  const services = await startServices({ onProgress: progress })
  try {
    const installation = await openBilledInstallation(services.urls)
    try {
      progress('meter and analytics run; writing the customers')
      const result = await measure(installation, { customers, progress })
      console.log(json ? JSON.stringify(result) : describe(result))
    } finally {
      await installation.close()
    }
  } finally {
    await services.stop()
  }
}

type Result = Awaited<ReturnType<typeof measure>>

async function measure(
  installation: BilledInstallation,
  { customers, progress }: { readonly customers: number; readonly progress: (line: string) => void }
) {
  await writeCustomers(installation, { name: 'month', customers })
  progress(`${customers} customers with ${customers * LEDGER_ROWS_EACH} rows of the ledger; billing them`)
  const run = openMonthlyRun(installation.environment)
  const memory = sampleMemory()
  try {
    const { seconds, statements, cpuMicros, ...outcome } = await timeInvoicing(run.bill)
    return {
      customers,
      ...outcome,
      seconds: Math.round(seconds * 10) / 10,
      invoicesPerSecond: Math.round(outcome.invoiced / seconds),
      statementsPerInvoice: Math.round((statements / outcome.invoiced) * 1_000) / 1_000,
      nodeMicrosPerInvoice: Math.round(cpuMicros / outcome.invoiced),
      memoryMiB: memory.told()
    }
  } finally {
    memory.stop()
    await run.close()
  }
}

/** Resident memory at the first tenth, at the half and at the end of the way, and the most there was. */
function sampleMemory() {
  const samples: number[] = []
  const timer = setInterval(() => samples.push(Math.round(process.memoryUsage.rss() / MIB)), SAMPLE_MS)
  const at = (share: number) => samples[Math.floor((samples.length - 1) * share)] ?? 0
  return {
    told: () => ({ early: at(0.1), half: at(0.5), end: at(1), most: Math.max(0, ...samples) }),
    stop: () => clearInterval(timer)
  }
}

function describe({ memoryMiB, ...result }: Result): string {
  return [
    `${result.invoiced} of ${result.customers} customers invoiced in ${result.seconds} s: ${result.invoicesPerSecond} invoices/s`,
    `${result.empty} empty, ${result.parked} parked`,
    `${result.statementsPerInvoice} statements to Postgres and ${result.nodeMicrosPerInvoice} µs of this process an invoice`,
    `memory: ${memoryMiB.early} MiB early, ${memoryMiB.half} at the half, ${memoryMiB.end} at the end, ${memoryMiB.most} at most`
  ].join('\n')
}
