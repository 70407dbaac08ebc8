/** `npm run test:e2e`: the end-to-end tests alone. */
import { testFolder } from './test-folder.ts'

process.argv.push(...testFolder('test/e2e'))
await import('./test.ts')
