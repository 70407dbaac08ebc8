/** `npm run test:faults`: the fault tests alone. FAULT_ROUNDS=10 kills consumers more than 300 times instead of 38. */
import { testFolder } from './test-folder.ts'

process.argv.push('--jobs=1', `--timeout=${300 * Number(process.env.FAULT_ROUNDS ?? 1)}`, ...testFolder('test/faults'))
await import('./test.ts')
