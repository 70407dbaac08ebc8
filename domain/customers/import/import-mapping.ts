/**
 * A mapping file says which column of a former service is which field of ours (docs/migration.md). What is wrong in it is told whole,
 * before a row is read.
 */
import { type BodyFault, Place } from '../../body-place.ts'
import { isObject } from '../../tokens/field-reader.ts'
import { IMPORT_PARTS, type ImportPart } from './customer-import.ts'
import { type FieldPlace, IMPORT_FIELDS, placeOfField } from './import-fields.ts'

export const ENCODINGS = ['utf-8', 'windows-1252'] as const

/** How `format` says a date is written; ours is `yyyy-mm-dd`. */
export const DATE_FORMATS = ['dd/mm/yyyy'] as const

export interface FieldRule {
  readonly field: string
  readonly place: FieldPlace
  /** Null: the constant is what every row states. */
  readonly column: string | null
  readonly constant: unknown
  /** What a column's values are called here; null: as they are. */
  readonly values: ReadonlyMap<string, unknown> | null
  /** What a row states whose cell is empty; undefined: nothing. */
  readonly fallback: unknown
  readonly format: (typeof DATE_FORMATS)[number] | null
  readonly prefix: string
}

export interface PartMapping {
  /** Of a database: the table, perhaps with its schema, and its column that orders rows and tells them apart. */
  readonly table: string | null
  readonly key: string | null
  readonly rules: readonly FieldRule[]
  /** Whether columns that no rule names are a mistake, as they are without a mapping file. */
  readonly isStrict: boolean
}

export interface ImportMapping {
  /** The file itself, for the fingerprint of a source: read by another mapping it is another one. */
  readonly text: string
  readonly encoding: (typeof ENCODINGS)[number]
  readonly parts: Readonly<Record<ImportPart, PartMapping>>
}

const PLAIN = { constant: undefined, values: null, fallback: undefined, format: null, prefix: '' } as const

/** Columns are called as our fields are. */
export const OWN_NAMES: ImportMapping = {
  text: '',
  encoding: 'utf-8',
  parts: {
    customers: ownNames('customers'),
    users: ownNames('users'),
    subscriptions: ownNames('subscriptions')
  }
}

/** `file` is whatever the JSON of the file says. A part that it doesn't name keeps our own names. */
export function readMapping(
  file: unknown
): { readonly mapping: ImportMapping } | { readonly faults: readonly BodyFault[] } {
  const faults: BodyFault[] = []
  const whole = new Place(file, '', faults)
  if (!whole.isObjectOf(['encoding', ...IMPORT_PARTS])) return { faults }
  const encoding = ENCODINGS.find((name) => name === (whole.field('encoding').value ?? 'utf-8'))
  if (encoding === undefined) whole.field('encoding').checkOneOf(ENCODINGS)
  const parts = {
    customers: readPart(whole.field('customers'), 'customers'),
    users: readPart(whole.field('users'), 'users'),
    subscriptions: readPart(whole.field('subscriptions'), 'subscriptions')
  }
  return faults.length > 0 || encoding === undefined
    ? { faults }
    : { mapping: { text: JSON.stringify(file), encoding, parts } }
}

function ownNames(part: ImportPart): PartMapping {
  const rules = Object.entries(IMPORT_FIELDS[part]).map(([name, shape]): FieldRule => {
    const place = { kind: 'plain', name, shape } as const
    return { field: name, place, column: name, ...PLAIN }
  })
  return { table: null, key: null, rules, isStrict: true }
}

function readPart(place: Place, part: ImportPart): PartMapping {
  if (place.value === undefined) return OWN_NAMES.parts[part]
  if (!place.isObjectOf(['table', 'key', 'fields'])) return OWN_NAMES.parts[part]
  const table = optionalText(place.field('table'))
  const key = optionalText(place.field('key'))
  if ((table === null) !== (key === null)) place.report('must have both `table` and `key`, or neither of them')
  const fields = place.field('fields')
  if (!isObject(fields.value)) {
    fields.report('must be an object')
    return { table, key, rules: [], isStrict: false }
  }
  const names = Object.keys(fields.value)
  const rules = names.flatMap((name) => readRule(part, { place: fields.field(name), name }) ?? [])
  for (const whole of ['contacts', 'metadata']) {
    if (names.includes(whole) && names.some((name) => name.startsWith(`${whole}.`))) {
      fields.field(whole).report('is mapped as a whole and in parts')
    }
  }
  return { table, key, rules, isStrict: false }
}

function readRule(
  part: ImportPart,
  { place, name }: { readonly place: Place; readonly name: string }
): FieldRule | null {
  const target = placeOfField(part, name)
  if (target === null) {
    place.report(`is no field of ${part}`)
    return null
  }
  const { value } = place
  if (typeof value === 'string') return { field: name, place: target, column: value, ...PLAIN }
  if (!place.isObjectOf(['column', 'constant', 'values', 'default', 'format', 'prefix'])) return null
  if (isObject(value) && Object.hasOwn(value, 'constant')) {
    if (Object.keys(value).length > 1) place.report('is a constant and nothing else')
    return { field: name, place: target, column: null, ...PLAIN, constant: value.constant }
  }
  const column = optionalText(place.field('column'))
  if (column === null) place.report('must have a `column` or a `constant`')
  const values = place.field('values')
  if (values.value !== undefined && !isObject(values.value)) values.report('must be an object')
  const format = place.field('format')
  if (format.value !== undefined) format.checkOneOf(DATE_FORMATS)
  return {
    field: name,
    place: target,
    column,
    constant: undefined,
    values: isObject(values.value) ? new Map(Object.entries(values.value)) : null,
    fallback: place.field('default').value,
    format: DATE_FORMATS.find((known) => known === format.value) ?? null,
    prefix: optionalText(place.field('prefix')) ?? ''
  }
}

function optionalText(place: Place): string | null {
  if (place.value === undefined) return null
  place.checkName(200)
  return typeof place.value === 'string' ? place.value : null
}
