/** `npm run test:faults`: the fault tests alone, all defects planted. FAULT_ROUNDS=10 kills consumers more than 300 times instead of 38. */
import { testFolder } from './test-folder.ts'

process.env.FAULT_ROUNDS ??= '1'
process.argv.push('--jobs=1', `--timeout=${300 * Number(process.env.FAULT_ROUNDS)}`, ...testFolder('test/faults'))
await import('./test.ts')
