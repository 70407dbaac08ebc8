/**
 * What was fetched of one partition and not taken yet: the hand-over from kafkajs's handler, which must never wait, to the
 * partition's loop, which may. It alone knows which offset comes next, so nothing is taken twice, out of order or not at all.
 */
import type { RecordBatch } from '../../domain/ports.ts'
import type { UsageRecord } from '../../domain/tokens/usage-event.ts'

export interface InboxBounds {
  /** Most records of one batch that is taken. */
  readonly batchRecordsMax: number
  /** At either of these the partition is to be paused. What is on its way by then still fits in: one fetch at most. */
  readonly inboxRecordsMax: number
  readonly inboxBytesMax: number
}

/** Everything a broker answered for [from, to); offsets without a record are holes. */
export interface FetchedStretch extends RecordBatch {
  readonly bytes: number
}

export class PartitionInbox {
  readonly #bounds: InboxBounds
  #stretches: FetchedStretch[] = []
  #position = 0
  #records = 0
  #bytes = 0
  #failure: Error | null = null
  #wake: (() => void) | null = null

  constructor(bounds: InboxBounds) {
    this.#bounds = bounds
  }

  /** The offset that has to be fetched next. */
  get position(): number {
    return this.#position
  }

  get isEmpty(): boolean {
    return this.#stretches.length === 0
  }

  get isFull(): boolean {
    return this.#records >= this.#bounds.inboxRecordsMax || this.#bytes >= this.#bounds.inboxBytesMax
  }

  /** Half empty: time to fetch again. */
  get hasRoom(): boolean {
    return this.#records * 2 <= this.#bounds.inboxRecordsMax && this.#bytes * 2 <= this.#bounds.inboxBytesMax
  }

  /** Forgets what is here and expects this offset next. */
  begin(offset: number): void {
    this.#stretches = []
    this.#records = 0
    this.#bytes = 0
    this.#failure = null
    this.#position = offset
  }

  /** False, and nothing changes, unless the stretch begins at the position. */
  offer(stretch: FetchedStretch): boolean {
    if (stretch.from !== this.#position) return false
    for (const part of split(stretch, this.#bounds.batchRecordsMax)) this.#stretches.push(part)
    this.#position = stretch.to
    this.#records += stretch.records.length
    this.#bytes += stretch.bytes
    this.wake()
    return true
  }

  /** There is no record in [position, to). */
  skipTo(to: number): void {
    this.offer({ from: this.#position, to, records: [], bytes: 0 })
  }

  /** The log can't be read on: whoever takes next is told. */
  fail(error: Error): void {
    this.#failure = error
    this.wake()
  }

  /** The oldest records, or null. Small fetches are joined, so that a loop that fell behind takes fewer, larger batches. */
  take(): RecordBatch | null {
    const first = this.#stretches[0]
    if (first === undefined) {
      if (this.#failure !== null) throw this.#failure
      return null
    }
    let count = 0
    let records = 0
    for (const stretch of this.#stretches) {
      if (count > 0 && records + stretch.records.length > this.#bounds.batchRecordsMax) break
      records += stretch.records.length
      count++
    }
    const taken = this.#stretches.splice(0, count)
    this.#records -= records
    for (const stretch of taken) this.#bytes -= stretch.bytes
    return {
      from: first.from,
      to: taken.at(-1)?.to ?? first.to,
      records: count === 1 ? first.records : taken.flatMap((stretch) => stretch.records)
    }
  }

  /** Resolves when something may be taken, when woken, or after the time. One waiter at a time. */
  async arrival(timeoutMs: number): Promise<void> {
    if (this.#stretches.length > 0 || this.#failure !== null || timeoutMs <= 0) return
    const { promise, resolve } = Promise.withResolvers<void>()
    const timer = setTimeout(resolve, timeoutMs)
    this.#wake = resolve
    await promise
    clearTimeout(timer)
    this.#wake = null
  }

  wake(): void {
    this.#wake?.()
  }
}

function* split(stretch: FetchedStretch, recordsMax: number): Generator<FetchedStretch> {
  const { records } = stretch
  if (records.length <= recordsMax) {
    yield stretch
    return
  }
  let { from, bytes: bytesLeft } = stretch
  for (let start = 0; start < records.length; start += recordsMax) {
    const part = records.slice(start, start + recordsMax)
    const last = start + recordsMax >= records.length
    const to = last ? stretch.to : offsetAfter(part)
    const bytes = last ? bytesLeft : Math.floor((stretch.bytes * part.length) / records.length)
    yield { from, to, records: part, bytes }
    from = to
    bytesLeft -= bytes
  }
}

function offsetAfter(records: readonly UsageRecord[]): number {
  const last = records.at(-1)
  if (last === undefined) throw new Error('a part of a batch holds at least one record')
  return last.offset + 1
}
