// `npm run dead-letters -- list | replay`: the command of ingest/, on the services that the environment names or the stack runs.

import { runDeadLettersCommand } from '../../../ingest/commands/dead-letters-command.ts'
import { serviceUrls } from '../../service-urls.ts'

Object.assign(process.env, serviceUrls())
await runDeadLettersCommand(process.argv.slice(2))
