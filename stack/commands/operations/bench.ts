// `npm run bench`: every ratio, measured on the real services.

import { runBench } from '../../../bench/main.ts'

await runBench(process.argv.slice(2))
