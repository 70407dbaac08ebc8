/**
 * Adds to the counters that begin under a cut what came before it: L stands at the cut, so what the ledger holds for this
 * partition is exactly that. Chunk by chunk, each once, however often it is tried.
 */
import type { ConsumerMeter, Cut, LedgerPart, LedgerPosition, ShardAt, UsageLedger } from '../../domain/ports.ts'
import { amountsOf } from '../../domain/tokens/counter-amounts.ts'

export interface CutPlace {
  readonly partition: number
  /** Where the ledger stands. */
  readonly position: LedgerPosition
  readonly shards: readonly ShardAt[]
}

interface SettlePorts {
  readonly meter: Pick<ConsumerMeter, 'seed' | 'cutAgain'>
  readonly ledger: Pick<UsageLedger, 'readForCuts'>
}

/** False when the ledger no longer stands there. */
export async function settleCuts(ports: SettlePorts, place: CutPlace, cuts: readonly Cut[]): Promise<boolean> {
  const { partition, position } = place
  for (let open = cuts; open.length > 0; ) {
    const found = await ports.ledger.readForCuts({
      partition,
      position,
      cuts: open.map((cut) => ({
        customerId: cut.customerId,
        sinceQuarter: firstQuarterOf(cut),
        after: cut.progress
      }))
    })
    if (found.refused) return false
    const next = await Promise.all(open.map((cut, i) => settleOne(ports, place, { cut, part: found.parts[i] })))
    open = next.filter((cut) => cut !== null)
  }
  return true
}

/**
 * The cut as it goes on, or null when there is no more to add. Missed the moment, because a flush that touched the shard went past it:
 * the meter cuts again.
 */
async function settleOne(
  { meter }: SettlePorts,
  { position, shards }: CutPlace,
  { cut, part }: { readonly cut: Cut; readonly part: LedgerPart | undefined }
): Promise<Cut | null> {
  const at = shards[cut.shard]
  if (at === undefined) throw new Error(`cut ${cut.id} is of shard ${cut.shard}, which does not exist`)
  if (part === undefined) throw new Error(`the ledger answered nothing for cut ${cut.id} of shard ${cut.shard}`)
  if ((position.shardCursors[cut.shard] ?? 0) > cut.at) {
    await meter.cutAgain(at, cut)
    return null
  }
  const amounts = amountsOf(cut.counters, part.rows, firstQuarterOf(cut))
  await meter.seed(at, cut, { amounts, next: part.next })
  return part.next === null ? null : { ...cut, progress: part.next }
}

/** The first quarter of any window that a cut seeds. */
function firstQuarterOf(cut: Cut): number {
  return Math.min(...cut.counters.map(({ windows }) => windows[0]?.[0] ?? 0))
}
