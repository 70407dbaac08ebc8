// `npm run billing -- run | preview | status | parked`: the command of billing-job/, on the services that the environment names or the
// stack runs.

import { runBillingCommand } from '../../../billing-job/commands/billing-command.ts'
import { billingRedisUrl, serviceUrls } from '../../service-urls.ts'

const urls = serviceUrls()
Object.assign(process.env, urls, { BILLING_REDIS_URL: billingRedisUrl(urls.REDIS_URL) })
await runBillingCommand(process.argv.slice(2))
