/**
 * Makes an audit trail tamper-evident: each record's hash covers its content and the hash before it, so that a record that was
 * changed, removed, put in or moved breaks every hash after it. What names a person enters as a salted digest and is kept beside
 * the content: erasing it later leaves the chain whole.
 */
import { createHash, randomBytes } from 'node:crypto'
import { canonicalJson, isJsonList, type Json, type JsonObject } from '../json.ts'
import type { AuditRecord } from './audit-record.ts'

/** The end of a trail: how many records it has and the hash of the last, 64 hexadecimal digits. */
export interface ChainHead {
  readonly sequence: number
  readonly hash: string
}

/** What the first record of a trail follows. */
export const CHAIN_START: ChainHead = { sequence: 0, hash: '0'.repeat(64) }

export interface PersonalValue {
  readonly salt: string
  /** Whatever stood there: a text mostly, an object for an address in parts. */
  readonly value: Json
}

export interface SealedRecord extends ChainHead {
  /** The record, each personal value replaced by `digest:` and 64 hexadecimal digits. */
  readonly content: JsonObject
  /** By digest: what stood there. Whoever erases a person removes entries. */
  readonly personal: Readonly<Record<string, PersonalValue>>
}

/** Members that name or find a person, wherever they stand in a record. Other services keep to these names as well (docs/audit.md). */
const PERSONAL_MEMBERS: ReadonlySet<string> = new Set([
  'name',
  'firstName',
  'lastName',
  'fullName',
  'displayName',
  'email',
  'phone',
  'address',
  'ipAddress'
])
/** Long enough that a digest can't be tried out on every name and number there is. */
const SALT_BYTES = 16

export function sealRecord(record: AuditRecord, previous: ChainHead): SealedRecord {
  const personal: Record<string, PersonalValue> = {}
  const content = withDigests(contentOf(record), personal)
  const sequence = previous.sequence + 1
  return { sequence, hash: chainHash(previous.hash, sequence, content), content, personal }
}

/** A record as the chain covers it, before anything is replaced by a digest. */
export function contentOf({
  id,
  customerId,
  actor,
  action,
  entity,
  before,
  after,
  at,
  origin
}: AuditRecord): JsonObject {
  const told = origin === undefined ? {} : { origin: { ...origin } }
  return { id, customerId, actor: { ...actor }, action, entity: { ...entity }, before, after, at, ...told }
}

export function isPersonalMember(name: string): boolean {
  return PERSONAL_MEMBERS.has(name)
}

/** The hash that a record of this content must have at this place. */
export function chainHash(previousHash: string, sequence: number, content: JsonObject): string {
  return createHash('sha256')
    .update(`${previousHash}\n${sequence}\n${canonicalJson(content)}`)
    .digest('hex')
}

/** Whether a kept personal value is the one that was sealed. */
export function isSealedValue(digest: string, { salt, value }: PersonalValue): boolean {
  return digest === digestOf(salt, value)
}

function withDigests(value: JsonObject, personal: Record<string, PersonalValue>): JsonObject {
  return Object.fromEntries(Object.entries(value).map(([name, member]) => [name, digested(name, member, personal)]))
}

function digested(name: string, member: Json, personal: Record<string, PersonalValue>): Json {
  if (member !== null && isPersonalMember(name)) {
    const salt = randomBytes(SALT_BYTES).toString('hex')
    const digest = digestOf(salt, member)
    personal[digest] = { salt, value: member }
    return digest
  }
  if (isJsonList(member)) return member.map((entry) => digested('', entry, personal))
  return typeof member === 'object' && member !== null ? withDigests(member, personal) : member
}

function digestOf(salt: string, value: Json): string {
  return `digest:${createHash('sha256')
    .update(`${salt}\n${canonicalJson(value)}`)
    .digest('hex')}`
}
