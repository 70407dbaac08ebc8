// `npm run bootstrap -- --name NAME`: the command of api/, on the Postgres that the environment names or the stack runs.

import { runBootstrapCommand } from '../../../api/commands/bootstrap-command.ts'
import { serviceUrls } from '../../service-urls.ts'

Object.assign(process.env, serviceUrls())
await runBootstrapCommand(process.argv.slice(2))
