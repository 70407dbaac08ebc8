// Statements that are written for pg, in a transaction of slonik's: what batches do to many invoices is done to one by the same text.

import { type DatabaseTransactionConnection, type PrimitiveValueExpression, sql } from 'slonik'
import { Type } from 'typebox'
import type { Run, Statement } from '../connect.ts'
import { rowParser } from '../encoding/row-parser.ts'

/** Whoever wrote the statement says what its rows are, as with pg. */
const ANY_ROW = rowParser('statements', Type.Unknown())

export function runOn(transaction: DatabaseTransactionConnection): Run {
  return async <Row>({ text, values = [] }: Statement) => {
    const statement = { ...sql.type(ANY_ROW)``, sql: text, values: values as readonly PrimitiveValueExpression[] }
    const { rows } = await transaction.query(statement)
    return rows as readonly Row[]
  }
}
