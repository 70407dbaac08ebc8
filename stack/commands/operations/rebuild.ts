// `npm run rebuild`: the command of ingest/, on the services that the environment names or the stack runs.

import { runRebuildCommand } from '../../../ingest/commands/rebuild-command.ts'
import { serviceUrls } from '../../service-urls.ts'

Object.assign(process.env, serviceUrls())
await runRebuildCommand(process.argv.slice(2))
