// `npm run reconcile`: the command of ingest/, on the services that the environment names or the stack runs.

import { runReconcileCommand } from '../../../ingest/commands/reconcile-command.ts'
import { serviceUrls } from '../../service-urls.ts'

Object.assign(process.env, serviceUrls())
await runReconcileCommand(process.argv.slice(2))
