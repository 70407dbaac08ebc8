// `npm run load`: a steady load on the real stack, and every store held against what was sent.

import { runLoad } from '../../../bench/load.ts'

await runLoad(process.argv.slice(2))
