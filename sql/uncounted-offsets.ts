// Which offsets were not counted, as the repairer and the analytics consumer both ask it.

import type { Database } from './connect.ts'

export interface OffsetRange {
  readonly partition: number
  readonly from: number
  readonly to: number
}

/** Offsets in [from, to) that the ledger leaves out. Complete for offsets below L. */
export async function findUncounted(database: Database, range: OffsetRange): Promise<ReadonlySet<number>> {
  const { partition, from, to } = range
  const rows = await database.query<{ record_offset: string }>(
    `read uncounted offsets of partition ${partition} in [${from}, ${to})`,
    {
      text: 'select record_offset from usage_uncounted where partition = $1 and record_offset >= $2 and record_offset < $3',
      values: [partition, from, to]
    }
  )
  return new Set(rows.map((row) => Number(row.record_offset)))
}
