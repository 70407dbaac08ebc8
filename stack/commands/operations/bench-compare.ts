// `npm run bench:compare`: what the bench measured against its baseline.

import { compareCommand } from '../../../bench/compare.ts'

compareCommand(process.argv.slice(2))
