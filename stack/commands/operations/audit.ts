// `npm run audit:verify`: the command of ingest/, on the services that the environment names or the stack runs.

import { runAuditCommand } from '../../../ingest/commands/audit-command.ts'
import { serviceUrls } from '../../service-urls.ts'

Object.assign(process.env, serviceUrls())
await runAuditCommand(process.argv.slice(2))
