/** `npm run stack:down [-- --wipe]`: stops the services; with --wipe their data goes too. */
import { parseArgs } from 'node:util'
import { createProgress } from '../machine/progress.ts'
import { stackFolder, stopServices } from '../services.ts'

const { values } = parseArgs({ options: { wipe: { type: 'boolean', default: false } } })
const progress = createProgress()
await stopServices({ folder: stackFolder(), wipe: values.wipe })
progress(values.wipe ? 'services: down, their data removed' : 'services: down, their data kept')
