// Which offsets were not counted, as the repairer and the analytics consumer both ask it.

import type { Database, Run } from './connect.ts'

export interface OffsetRange {
  readonly partition: number
  readonly from: number
  readonly to: number
}

/** Offsets in [from, to) that the ledger leaves out. Complete for offsets below L. */
export async function findUncounted(database: Database, range: OffsetRange): Promise<ReadonlySet<number>> {
  const { partition, from, to } = range
  const what = `read uncounted offsets of partition ${partition} in [${from}, ${to})`
  return findUncountedIn((statement) => database.query(what, statement), range)
}

/** The same within a transaction. */
export async function findUncountedIn(run: Run, range: OffsetRange): Promise<ReadonlySet<number>> {
  const rows = await run<{ record_offset: string }>({
    text: 'select record_offset from usage_uncounted where partition = $1 and record_offset >= $2 and record_offset < $3',
    values: [range.partition, range.from, range.to]
  })
  return new Set(rows.map((row) => Number(row.record_offset)))
}
