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
  },
  {
    name: 'no-ledger-cas-in-sql',
    leavesOut: 'the compare-and-set of the cursor in the flush',
    edits: [
      {
        file: 'sql/usage-ledger.ts',
        find: 'and ledger_cursor = $2 and generations = $3::bigint[]\n    returning partition',
        replace: 'and $2::bigint >= 0 and generations = $3::bigint[]\n    returning partition'
      }
    ]
  },
  {
    name: 'past-ledger',
    leavesOut: "stopping at the ledger's cursor, behind which alone it is known what was not counted",
    edits: [
      {
        file: 'ingest/analytics-partition.ts',
        find: 'Math.min(this.#ledgerCursor, this.#held)',
        replace: 'this.#held'
      },
      { file: 'sql/analytics-blocks.ts', find: 'if (block.to > ledgerCursor) {', replace: 'if (block.to < 0) {' },
      { file: 'sql/analytics-blocks.ts', find: 'and $3 <= ledger_cursor', replace: 'and ledger_cursor >= 0' }
    ]
  }
]
