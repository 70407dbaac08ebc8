// `node monitoring/env-example-command.ts`: writes .env.example from the fragments of config.ts.

import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { renderEnvExample } from './env-example.ts'

const file = join(import.meta.dirname, '..', '.env.example')
writeFileSync(file, renderEnvExample())
console.log(`wrote ${file}`)
