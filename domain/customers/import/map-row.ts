/** From a row of a former service to fields of ours. What they may be is judged later, by the rules that every caller meets. */
import { type BodyFault, Place } from '../../body-place.ts'
import { findUnsafe, isObject, shownKey } from '../../tokens/field-reader.ts'
import { EMAIL_LENGTH_MAX, REFERENCE_LENGTH_MAX } from '../validate-customer.ts'
import type { Candidate, ImportPart, Refusal, SourceRow } from './customer-import.ts'
import type { FieldShape } from './import-fields.ts'
import type { FieldRule, PartMapping } from './import-mapping.ts'

type Fields = Record<string, unknown>

/**
 * An empty cell, null and a column that is missing all say that the row doesn't state the field. Texts are taken without the spaces
 * around them.
 */
export function mapRow(part: ImportPart, source: SourceRow, mapping: PartMapping): Candidate | Refusal {
  const { values } = source
  const refuse = (faults: readonly BodyFault[], externalId: string | null): Refusal => ({
    part,
    source,
    externalId,
    faults
  })
  if (source.fault !== null || !isObject(values)) {
    return refuse([{ field: '', message: source.fault ?? 'is no JSON object' }], null)
  }
  const unsafe = findUnsafe(values)
  if (unsafe !== null)
    return refuse([{ field: '', message: 'is nested too deep, or has a key that is forbidden' }], null)
  const faults: BodyFault[] = []
  const fields = readFields(values, mapping.rules, faults)
  if (mapping.isStrict) faults.push(...unknownColumns(values, mapping.rules))
  const idField = part === 'customers' ? 'externalId' : 'customerExternalId'
  const whole = new Place(fields, '', faults)
  whole.field(idField).checkName(REFERENCE_LENGTH_MAX)
  if (part === 'users') whole.field('email').checkName(EMAIL_LENGTH_MAX)
  const [externalId, email] = [fields[idField], fields.email]
  if (faults.length > 0 || typeof externalId !== 'string') {
    return refuse(faults, typeof externalId === 'string' ? externalId : null)
  }
  const key = part === 'users' && typeof email === 'string' ? userKey(externalId, email) : externalId
  return { source, externalId, key, fields }
}

export function isCandidate(mapped: Candidate | Refusal): mapped is Candidate {
  return !('faults' in mapped)
}

/** Neither of them holds a line feed. */
export function userKey(externalId: string, email: string): string {
  return `${externalId}\n${email.toLowerCase()}`
}

function readFields(values: Readonly<Fields>, rules: readonly FieldRule[], faults: BodyFault[]): Fields {
  const fields: Fields = {}
  const metadata = new Map<string, unknown>()
  const contacts: { stated: boolean; members: Fields }[] = []
  for (const rule of rules) {
    const value = readField(values, rule, faults)
    if (value === undefined) continue
    const { place } = rule
    if (place.kind === 'plain') fields[place.name] = value
    else if (place.kind === 'metadata') metadata.set(place.name, value)
    else {
      const contact = contacts[place.index] ?? { stated: false, members: {} }
      contacts[place.index] = contact
      contact.members[place.name] = value
      // A purpose that is the same for all makes no contact of a row that names nobody.
      if (isStated(values, rule)) contact.stated = true
    }
  }
  const stated = contacts.filter((contact) => contact?.stated)
  if (stated.length > 0) fields.contacts = stated.map(({ members }) => members)
  if (metadata.size > 0) fields.metadata = Object.fromEntries(metadata)
  return fields
}

function isStated(values: Readonly<Fields>, { column }: FieldRule): boolean {
  return column !== null && cellOf(values, column) !== undefined
}

/** Undefined: not stated. */
function cellOf(values: Readonly<Fields>, column: string): unknown {
  const value = Object.hasOwn(values, column) ? values[column] : undefined
  const cell = typeof value === 'string' ? value.trim() : value
  return cell === '' || cell === null ? undefined : cell
}

function readField(values: Readonly<Fields>, rule: FieldRule, faults: BodyFault[]): unknown {
  const { field, column, place } = rule
  if (column === null) return rule.constant
  const cell = cellOf(values, column)
  if (cell === undefined) return rule.fallback
  if (rule.values !== null) {
    const text = String(cell)
    if (rule.values.has(text)) return rule.values.get(text)
    faults.push({ field, message: `has no meaning for "${shownKey(text)}" of column ${column}` })
    return undefined
  }
  if (rule.format !== null) return isoDate(String(cell))
  const value = shaped(cell, place.kind === 'plain' ? place.shape : place.kind === 'contact' ? 'text' : null)
  return typeof value === 'string' ? `${rule.prefix}${value}` : value
}

/** What is of no such shape stays as it is, for the rules of the field to refuse. Null: whatever it is. */
function shaped(cell: unknown, shape: FieldShape | null): unknown {
  if (shape === 'text' && Number.isSafeInteger(cell)) return String(cell)
  if (typeof cell !== 'string') return cell
  if (shape === 'integer' && /^\d{1,15}$/.test(cell)) return Number(cell)
  return shape === 'json' ? parsed(cell) : cell
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch (error) {
    if (error instanceof SyntaxError) return text
    throw error
  }
}

function isoDate(text: string): string {
  const [, day, month, year] = /^(\d\d)\/(\d\d)\/(\d{4})$/.exec(text) ?? []
  return year === undefined ? text : `${year}-${month}-${day}`
}

function unknownColumns(values: Readonly<Fields>, rules: readonly FieldRule[]): BodyFault[] {
  const known = new Set(rules.map(({ column }) => column))
  return Object.keys(values)
    .filter((column) => !known.has(column))
    .map((column) => ({ field: shownKey(column), message: 'is not a known field: a mapping file says what it is' }))
}
