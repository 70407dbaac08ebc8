/**
 * Reads one trail from its start and tells the first fault of it. What it finds by itself: a record that was changed, removed, put
 * in or moved, a plain column that says something else than the content, a personal value that is not the sealed one, and an end
 * that is not where the head says. What it finds by an anchor alone, kept where nobody who writes to the table can reach: a trail
 * that was written anew from some record on, cut short together with its head, or removed as a whole.
 */
import { canonicalJson, isJsonList, type Json, type JsonObject } from '../json.ts'
import { CHAIN_START, type ChainHead, chainHash, isSealedValue, type PersonalValue } from './chain.ts'

/** A row of the trail, as it stands in the table. */
export interface StoredRecord extends ChainHead {
  readonly content: JsonObject
  readonly personal: Readonly<Record<string, PersonalValue>>
  /** What the plain columns say, to search by. */
  readonly columns: RecordColumns
}

export interface RecordColumns {
  /** Empty for the platform's own trail. */
  readonly customerId: string
  readonly id: string
  readonly action: string
  readonly actorId: string
  readonly entityKind: string
  readonly entityId: string
  readonly at: number
}

/** Where a trail stands: what its head says, and how far its records go. Both null: there is none. */
export interface ChainStand {
  readonly head: ChainHead | null
  readonly lastSequence: number | null
}

export interface ChainFault {
  /** Of the first record that is not as it must be. */
  readonly sequence: number
  readonly message: string
}

export interface ChainFinding {
  readonly customerId: string
  /** The end of what verified. */
  readonly head: ChainHead
  readonly fault: ChainFault | null
}

export interface ChainToVerify {
  readonly customerId: string
  readonly stand: ChainStand
  /** In order of sequence, up to the head's or, without a head, to the last. */
  readonly records: AsyncIterable<StoredRecord>
  /** Null when there is none for this trail. */
  readonly anchor: ChainHead | null
}

export async function verifyChain({ customerId, stand, records, anchor }: ChainToVerify): Promise<ChainFinding> {
  let head = CHAIN_START
  const found = (fault: ChainFault | null): ChainFinding => ({ customerId, head, fault })
  for await (const record of records) {
    const message = faultOf(record, customerId, head)
    if (message !== null) return found({ sequence: Math.min(record.sequence, head.sequence + 1), message })
    head = { sequence: record.sequence, hash: record.hash }
    if (anchor?.sequence === head.sequence && anchor.hash !== head.hash) {
      return found({ sequence: head.sequence, message: 'the hash is not the anchored one: the trail was written anew' })
    }
  }
  const message = faultOfEnd(head, stand, anchor)
  return found(message === null ? null : { sequence: head.sequence + 1, message })
}

function faultOf(record: StoredRecord, customerId: string, previous: ChainHead): string | null {
  const { sequence, hash, content, columns } = record
  if (sequence !== previous.sequence + 1) return `the record is missing: the next one is ${sequence}`
  if (chainHash(previous.hash, sequence, content) !== hash)
    return 'the hash is not that of the content after the record before'
  const said = columnsOf(content)
  if (said.customerId !== customerId) return `the content belongs to the trail of ${nameOf(said.customerId)}`
  if (canonicalJson({ ...said }) !== canonicalJson({ ...columns }))
    return 'the plain columns do not say what the content says'
  return faultOfPersonal(record)
}

/** Entries may be gone, as they are when a person was erased; none may differ, and none may be of nothing. */
function faultOfPersonal({ content, personal }: StoredRecord): string | null {
  const text = canonicalJson(content)
  for (const [digest, value] of Object.entries(personal)) {
    if (!isSealedValue(digest, value)) return `a personal value is not the one that was sealed as ${digest}`
    if (!text.includes(`"${digest}"`)) return `a personal value belongs to no place of the content: ${digest}`
  }
  return null
}

function faultOfEnd(last: ChainHead, { head, lastSequence }: ChainStand, anchor: ChainHead | null): string | null {
  if (anchor !== null && anchor.sequence > last.sequence)
    return `the trail was anchored at ${anchor.sequence} and ends before it`
  if (head === null) return lastSequence === null ? null : 'the trail has records and no head'
  if (head.sequence > last.sequence) return `the record is missing: the head says ${head.sequence}`
  if ((lastSequence ?? 0) > head.sequence) return `the record stands behind the head, which says ${head.sequence}`
  return head.hash === last.hash ? null : 'the hash of the head is not that of the last record'
}

/** What the plain columns must say. Whoever writes a trail anew may write anything: what is not there equals no column. */
function columnsOf(content: JsonObject): Readonly<Record<keyof RecordColumns, Json>> {
  const { id = null, customerId = null, action = null, actor, entity, at = null } = content
  return {
    customerId: customerId ?? '',
    id,
    action,
    actorId: memberOf(actor, 'id'),
    entityKind: memberOf(entity, 'kind'),
    entityId: memberOf(entity, 'id'),
    at
  }
}

function memberOf(value: Json | undefined, name: string): Json {
  if (typeof value !== 'object' || value === null || isJsonList(value)) return null
  return value[name] ?? null
}

function nameOf(customerId: Json): string {
  return customerId === '' ? 'the platform' : String(customerId)
}
