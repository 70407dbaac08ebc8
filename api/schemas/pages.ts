/** Lists, as every noun tells them: pages that follow each other by an opaque cursor. */
import Type, { type TSchema } from 'typebox'
import type { Page, PageAsked } from '../../domain/page.ts'
import * as schemas from './shared.ts'

const PAGE_DEFAULT = 50
const PAGE_MAX = 200
const CURSOR_LENGTH_MAX = 512

/** Of the query of a list, beside its filters. */
export const pageQuery = {
  limit: Type.Optional(
    Type.Integer({
      description: 'The most entries of a page.',
      minimum: 1,
      maximum: PAGE_MAX,
      default: PAGE_DEFAULT,
      examples: [PAGE_DEFAULT]
    })
  ),
  cursor: Type.Optional(Type.String({ description: '`nextCursor` of the page before.', maxLength: CURSOR_LENGTH_MAX }))
}

/** A page of entries, described, with one entry as the example. */
export function pageOf<T extends TSchema>(entry: T, description: string, example: object) {
  const page = Type.Object(
    {
      data: Type.Array(entry, { description: 'In the order of their creation, unless the route says another.' }),
      nextCursor: schemas.NullableString('`cursor` of the next page; null after the last one.'),
      hasMore: Type.Boolean({ description: 'Whether there is a next page.' })
    },
    schemas.strict
  )
  return schemas.answer(page, description, { data: [example], nextCursor: null, hasMore: false })
}

export function pageAsked({ limit = PAGE_DEFAULT, cursor = '' }: Partial<PageAsked>): PageAsked {
  return { limit, cursor }
}

export function tellPage<Row, Told>({ rows, next }: Page<Row>, tell: (row: Row) => Told) {
  return { data: rows.map(tell), nextCursor: next, hasMore: next !== null }
}
