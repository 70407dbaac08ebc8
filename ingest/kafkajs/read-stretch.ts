/** kafkajs's batch as the product's records, with what its types promise and its decoder does not keep put right. */
import type { Batch, IHeaders } from 'kafkajs'
import type { UsageRecord } from '../../domain/tokens/usage-event.ts'
import type { FetchedStretch } from './partition-inbox.ts'

/** Added to each record's bytes: what its objects take beside key and value. */
const RECORD_OVERHEAD_BYTES = 200
const NO_HEADERS: IHeaders = {}

export function readStretch(batch: Batch): FetchedStretch {
  let bytes = 0
  const records: UsageRecord[] = batch.messages.map(({ offset, timestamp, key, value, headers }) => {
    bytes += RECORD_OVERHEAD_BYTES + (key?.length ?? 0) + (value?.length ?? 0)
    return { offset: Number(offset), arrivedAt: Number(timestamp), key, value, headers: readHeaders(headers) }
  })
  return { from: fetchedOffsetOf(batch), to: Number(batch.lastOffset()) + 1, records, bytes }
}

/** The offset that was asked for. It is there, but not in the library's types; firstOffset() would hide holes and stale batches. */
function fetchedOffsetOf(batch: object): number {
  const offset: unknown = Reflect.get(batch, 'fetchedOffset')
  if (typeof offset !== 'string') throw new Error('kafkajs tells no fetchedOffset: is it another version than 2.2.4?')
  return Number(offset)
}

/**
 * A header without a value comes as null, and one that is called like a property of every object (`constructor`, `__proto__`)
 * comes as a list that begins with that property: either would break whoever trusts the types. A header without a value is
 * undefined here; in a list of several it is left out.
 */
function readHeaders(headers: IHeaders | undefined): UsageRecord['headers'] {
  if (headers === undefined) return NO_HEADERS
  for (const name in headers) if (!Buffer.isBuffer(headers[name])) return repairHeaders(headers)
  return headers
}

function repairHeaders(headers: IHeaders): UsageRecord['headers'] {
  return Object.fromEntries(
    Object.entries(headers).map(([name, content]) => {
      const values = [content].flat().filter((value) => Buffer.isBuffer(value))
      return [name, values.length > 1 ? values : values[0]]
    })
  )
}
