/** From what the trail keeps back to what was said: personal values in their places, as long as nobody erased them. */
import { canonicalJson, isJsonList, type Json, type JsonObject } from '../json.ts'
import type { AuditRecord } from './audit-record.ts'
import { contentOf, isPersonalMember, type PersonalValue } from './chain.ts'

type Personal = Readonly<Record<string, PersonalValue>>

/** The content with its personal values. Where one was erased, null stands: the digest tells a reader nothing. */
export function restoreContent(content: JsonObject, personal: Personal): JsonObject {
  return Object.fromEntries(Object.entries(content).map(([name, member]) => [name, restored(name, member, personal)]))
}

function restored(name: string, member: Json, personal: Personal): Json {
  if (isPersonalMember(name)) return sealedAs(member, personal)?.value ?? null
  if (isJsonList(member)) return member.map((entry) => restored('', entry, personal))
  return typeof member === 'object' && member !== null ? restoreContent(member, personal) : member
}

/**
 * Whether a record that comes again says what the kept one says. An erased value may be any: whoever reads the log again must
 * not bring back, as a conflict, what was erased.
 */
export function isSameRecord(record: AuditRecord, content: JsonObject, personal: Personal): boolean {
  return isSame('', contentOf(record), { member: content, personal })
}

interface Kept {
  readonly member: Json
  readonly personal: Personal
}

function isSame(name: string, said: Json, { member, personal }: Kept): boolean {
  if (isPersonalMember(name) && said !== null && typeof member === 'string') {
    const value = sealedAs(member, personal)
    return value === undefined || canonicalJson(value.value) === canonicalJson(said)
  }
  if (isJsonList(said)) {
    if (!isJsonList(member) || member.length !== said.length) return false
    return said.every((entry, at) => isSame('', entry, { member: member[at] ?? null, personal }))
  }
  if (typeof said !== 'object' || said === null) return canonicalJson(said) === canonicalJson(member)
  if (typeof member !== 'object' || member === null || isJsonList(member)) return false
  const names = Object.keys(said)
  if (names.length !== Object.keys(member).length) return false
  return names.every((each) => {
    const kept = member[each]
    return kept !== undefined && isSame(each, said[each] ?? null, { member: kept, personal })
  })
}

function sealedAs(digest: Json, personal: Personal): PersonalValue | undefined {
  return typeof digest === 'string' && Object.hasOwn(personal, digest) ? personal[digest] : undefined
}
