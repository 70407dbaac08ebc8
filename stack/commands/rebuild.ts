// `npm run rebuild`: the command of ingest/, on the services that the environment names or the stack runs.

import { runRebuildCommand } from '../../ingest/rebuild-command.ts'
import { serviceUrls } from '../../test/services.ts'

Object.assign(process.env, serviceUrls())
await runRebuildCommand(process.argv.slice(2))
