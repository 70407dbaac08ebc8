/** `npm run test:faults`: the fault tests alone. FAULT_ROUNDS=10 kills consumers more than 300 times instead of 38. */
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { projectFolder } from '../machine/native-server.ts'

const folder = join('test', 'faults')
const files = readdirSync(join(projectFolder(), folder)).filter((name) => name.endsWith('.test.ts'))
process.argv.push(
  '--jobs=1',
  `--timeout=${300 * Number(process.env.FAULT_ROUNDS ?? 1)}`,
  ...files.map((name) => join(folder, name))
)
await import('./test.ts')
