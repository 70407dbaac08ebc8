// A worker of the billing queue as a process of its own, to be killed: `node test/billing/billing-member.ts DATABASE REDIS PREFIX NOW LOCK_MS [CRASH_AT]`.
// Its gate finds that all stores agree; the clock stands still. It prints `job OUTCOME` when one has ended.

import { startBillingWorker } from '../../billing-job/billing-worker.ts'
import { runWork } from '../../billing-job/job-work.ts'
import { createBillingMetrics } from '../../monitoring/billing/billing-metrics.ts'
import { withCrashPoints } from '../../monitoring/crash-point.ts'
import { createRegistry } from '../../monitoring/metrics.ts'
import { PostgresBillingStore } from '../../sql/billing/billing-store.ts'
import { Database } from '../../sql/connect.ts'
import { ALL_AGREE, TERMS } from './billing-service.ts'

const [databaseUrl = '', redisUrl = '', prefix = '', now = '', lockMs = '', crashAt] = process.argv.slice(2)

const database = new Database({ databaseUrl, applicationName: 'billing-member', role: 'tokenmeter_platform' })
const dependencies = {
  store: new PostgresBillingStore(database),
  gate: withCrashPoints('gate', ALL_AGREE, crashAt),
  terms: TERMS,
  now: () => Number(now)
}
startBillingWorker({
  redisUrl,
  prefix,
  lockMs: Number(lockMs),
  work: {
    run: runWork(dependencies, { batchSize: 2, concurrency: 1 }, createBillingMetrics(createRegistry('member'))),
    collect: async () => ({})
  },
  onEnd: ({ outcome }) => process.stdout.write(`job ${outcome}\n`),
  onError: (error) => process.stderr.write(`${error.stack}\n`)
})
process.stdout.write('ready\n')
