/**
 * A billing run in a process of its own, for tests that kill it: the product's run and store, small batches, a line for each round.
 * The other stores agree. Ends with 0 when nothing is due any more.
 */
import { billDue } from '../../billing-job/bill-due.ts'
import { withCrashPoints } from '../../monitoring/crash-point.ts'
import { PostgresBillingStore } from '../../sql/billing/billing-store.ts'
import { Database } from '../../sql/connect.ts'
import { ALL_AGREE, TERMS } from '../billing/billing-service.ts'

const { DATABASE_URL: databaseUrl = '', CRASH_AT: crashAt, AS_OF: asOf = '' } = process.env
const database = new Database({ databaseUrl, applicationName: 'billing-runner', role: 'tokenmeter_platform' })
const store = withCrashPoints('billing', new PostgresBillingStore(database), crashAt)
const gate = withCrashPoints('gate', ALL_AGREE, crashAt)
await billDue(
  { store, gate, terms: TERMS, now: () => Number(asOf) },
  {
    batchSize: 2,
    concurrency: 2,
    subscriptionId: null,
    onProgress: ({ invoiced }) => process.stdout.write(`invoiced ${invoiced}\n`),
    isStopped: () => false
  }
)
await database.close()
