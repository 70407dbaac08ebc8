// Checks rows against a TypeBox schema, in the form that slonik asks of a parser (Standard Schema 1,
// https://standardschema.dev). It checks and never changes: what passes is the row as Postgres gave it.

import type { Static, TSchema } from 'typebox'
import { Compile } from 'typebox/compile'

type Checked<T> =
  | { readonly value: T; readonly issues?: undefined }
  | { readonly issues: readonly { readonly message: string }[] }

export interface RowParser<T> {
  readonly '~standard': {
    readonly version: 1
    readonly vendor: string
    readonly validate: (value: unknown) => Checked<T>
    readonly types?: { readonly input: unknown; readonly output: T }
  }
  /** The row, or a throw that names the table and the place. */
  parse(value: unknown): T
}

/** The row that a parser lets through. */
export type Row<Parser> = Parser extends RowParser<infer T> ? T : never

export function rowParser<Schema extends TSchema>(table: string, schema: Schema): RowParser<Static<Schema>> {
  const compiled = Compile(schema)
  const check = (value: unknown): Checked<Static<Schema>> => {
    if (compiled.Check(value)) return { value }
    return { issues: compiled.Errors(value).map((fault) => ({ message: `${fault.instancePath} ${fault.message}` })) }
  }
  return {
    '~standard': { version: 1, vendor: 'tokenmeter', validate: check },
    parse(value) {
      const checked = check(value)
      if (checked.issues === undefined) return checked.value
      const faults = checked.issues.map(({ message }) => message).join('; ')
      throw new TypeError(`a row of ${table} is damaged: ${faults}: ${JSON.stringify(value)}`)
    }
  }
}
