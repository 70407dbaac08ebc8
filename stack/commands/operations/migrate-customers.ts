// `npm run migrate:customers`: the command of api/, on the Postgres that the environment names or the stack runs.

import { runMigrateCustomersCommand } from '../../../api/commands/migrate-customers-command.ts'
import { serviceUrls } from '../../service-urls.ts'

Object.assign(process.env, serviceUrls())
await runMigrateCustomersCommand(process.argv.slice(2))
