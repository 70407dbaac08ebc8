/** Defects planted in real processes: those of the simulation that stand in product files, and some that only real stores show. */
import { DEFECTS, type Defect } from '../simulate/defects.ts'

export const PROCESS_DEFECTS: readonly Defect[] = [
  ...DEFECTS,
  {
    name: 'no-dead-letters',
    leavesOut: 'the dead letter of what can not be read',
    edits: [
      {
        file: 'ingest/meter-partition.ts',
        find: 'if (poison.length > 0) await this.#ports.deadLetters.append(poison)',
        replace: ''
      }
    ]
  },
  {
    name: 'no-block-token',
    leavesOut: 'the name by which ClickHouse knows a block that comes again',
    edits: [
      {
        file: 'clickhouse/usage-log.ts',
        find: 'insert_deduplication_token: name',
        replace: 'insert_deduplication_token: name + Math.random()'
      }
    ]
  }
]
