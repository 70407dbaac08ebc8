// Loaded before a process by --import: plants the defect that PLANT names.

import { plantDefect } from '../simulate/defects.ts'
import { PROCESS_DEFECTS } from './process-defects.ts'

plantDefect(process.env.PLANT ?? '', PROCESS_DEFECTS)
