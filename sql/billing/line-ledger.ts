// The ledger's rows behind a line of an invoice, page by page.

import { sql } from 'slonik'
import { Type } from 'typebox'
import type { LineLedger, LineUsage, LineUsageAsk } from '../../domain/billing/invoices/explain-line.ts'
import type { Page } from '../../domain/page.ts'
import { TOKEN_POOLS } from '../../domain/tokens/token-pools.ts'
import type { EntityDatabase } from '../connect-slonik.ts'
import { decodePageKey, encodePageKey } from '../encoding/page-key.ts'
import { rowParser } from '../encoding/row-parser.ts'

/** Quarter, model and pool. */
const BEFORE_ALL = [Number.MIN_SAFE_INTEGER, '', ''] as const
const QUARTER_MIN = -(2 ** 31)

const USAGE_ROW = rowParser(
  'usage_ledger',
  Type.Object({
    quarter: Type.Integer(),
    model: Type.String(),
    pool: Type.Enum([...TOKEN_POOLS]),
    tokens: Type.String({ pattern: '^-?\\d+$' })
  })
)

export class PostgresLineLedger implements LineLedger {
  readonly #database: EntityDatabase

  constructor(database: EntityDatabase) {
    this.#database = database
  }

  /** Within the customer's own rows, whoever asks. */
  async lineUsage({ customerId, sources, limit, cursor }: LineUsageAsk): Promise<Page<LineUsage>> {
    const [quarter, model, pool] = decodePageKey<readonly [number, string, string]>(cursor, BEFORE_ALL)
    if (sources.length === 0) return { rows: [], next: null }
    const after = Math.max(quarter, QUARTER_MIN)
    const asked = sql.unnest(
      sources.map((source) => [source.model, source.pool, source.from, source.to]),
      ['text', 'text', 'int4', 'int4']
    )
    const reach = { kind: 'customer', customerId } as const
    const rows = await this.#database.transaction(reach, `explain a line of ${customerId}`, (transaction) =>
      transaction.any(sql.type(USAGE_ROW)`
        select quarter, model, pool, tokens::text as tokens
          from (select ledger.quarter, ledger.model, asked.pool collate "C" as pool,
                       sum(case asked.pool when 'input' then ledger.input when 'cacheRead' then ledger.cache_read
                                           when 'cacheWrite' then ledger.cache_write when 'output' then ledger.output
                                           when 'reasoning' then ledger.reasoning end) as tokens
                  from ${asked} as asked (model, pool, from_quarter, to_quarter)
                  join usage_ledger as ledger
                    on ledger.customer_id = ${customerId} and ledger.model = asked.model collate "C"
                   and ledger.quarter >= asked.from_quarter and ledger.quarter < asked.to_quarter
                 where ledger.quarter >= ${after}
                 group by ledger.quarter, ledger.model, asked.pool) as used
         where tokens <> 0 and (quarter, model, pool) > (${after}, ${model}, ${pool})
         order by quarter, model, pool
         limit ${limit + 1}`)
    )
    const page = rows.slice(0, limit)
    const last = rows.length > limit ? page.at(-1) : undefined
    return {
      rows: page.map(({ tokens, ...row }) => ({ ...row, tokens: BigInt(tokens) })),
      next: last === undefined ? null : encodePageKey([last.quarter, last.model, last.pool])
    }
  }
}
