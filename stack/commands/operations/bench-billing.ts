// `npm run bench:billing`: a month of many customers, billed on the real services.

import { benchBilling } from '../../../bench/bill-customers.ts'

await benchBilling()
