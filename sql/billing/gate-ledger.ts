// The ledger as the gate before billing holds it against the other stores: sums of many customers in one statement each.

import type { CustomerStretch } from '../../domain/billing/invoices/billing-gate.ts'
import type {
  GateLedger,
  PartitionStand,
  QuarterTokens,
  StretchTokens
} from '../../domain/billing/invoices/gate-ports.ts'
import type { LedgerRow } from '../../domain/ports.ts'
import type { Database } from '../connect.ts'
import { numberArrayLiteral, textArrayLiteral } from '../encoding/array-literal.ts'
import { type LedgerColumns, type PoolSums, toLedgerRows, toTokenSums } from '../encoding/ledger-rows.ts'

interface StretchColumns extends Omit<PoolSums, 'events'> {
  readonly stretch: number
  readonly model: string
}

export class PostgresGateLedger implements GateLedger {
  readonly #database: Database

  /** A database with a long statement timeout. */
  constructor(database: Database) {
    this.#database = database
  }

  async stands(): Promise<ReadonlyMap<number, PartitionStand>> {
    const rows = await this.#database.query<{ partition: number; ledger_cursor: string; done: string }>(
      'read how far ledger and analytics are',
      {
        name: 'gate-stands',
        text: `select partition, coalesce(ledger_cursor, 0) as ledger_cursor, coalesce(done, 0) as done
                 from usage_partition full join analytics_partition using (partition)`
      }
    )
    return new Map(
      rows.map(({ partition, ledger_cursor, done }) => [
        partition,
        { ledger: Number(ledger_cursor), analytics: Number(done) }
      ])
    )
  }

  async stretchSums(stretches: readonly CustomerStretch[]): Promise<readonly StretchTokens[]> {
    const rows = await this.#database.query<StretchColumns>(`sum the ledger of ${stretches.length} stretches`, {
      name: 'gate-stretch-sums',
      text: `${ASKED_STRETCHES}
             select stretch, found.model, ${SUM_COLUMNS}
               from asked cross join lateral (select model, ${SUMS} ${ROWS_OF_STRETCH} group by model) as found`,
      values: stretchValues(stretches)
    })
    return rows.map(decodeSums)
  }

  async quarterSums(stretches: readonly CustomerStretch[]): Promise<readonly QuarterTokens[]> {
    const rows = await this.#database.query<StretchColumns & { readonly quarter: number }>(
      `sum the ledger of ${stretches.length} stretches by quarter-hour`,
      {
        name: 'gate-quarter-sums',
        text: `${ASKED_STRETCHES}
               select stretch, found.model, found.quarter, ${SUM_COLUMNS}
                 from asked cross join lateral (
                   select model, quarter, ${SUMS} ${ROWS_OF_STRETCH} group by model, quarter
                 ) as found`,
        values: stretchValues(stretches)
      }
    )
    return rows.map((row) => ({ ...decodeSums(row), quarter: row.quarter }))
  }

  async counterRows(
    asked: readonly { readonly customerId: string; readonly quarters: readonly number[] }[]
  ): Promise<ReadonlyMap<string, readonly LedgerRow[]>> {
    const counted = asked.filter(({ quarters }) => quarters.length > 0)
    if (counted.length === 0) return new Map()
    const columns = await this.#database.query<LedgerColumns>(`read what ${counted.length} customers' counters count`, {
      name: 'gate-counter-rows',
      text: COUNTER_ROWS,
      values: [
        textArrayLiteral(counted.map(({ customerId }) => customerId)),
        textArrayLiteral(counted.map(({ quarters }) => numberArrayLiteral(quarters)))
      ]
    })
    return Map.groupBy(toLedgerRows(columns), ({ customerId }) => customerId)
  }
}

/** Materialized, so that each list of quarters is read once and not once a row. */
const COUNTER_ROWS = `
  with asked as materialized (
    select customer_id, quarters::integer[] as quarters from unnest($1::text[], $2::text[]) as list (customer_id, quarters)
  )
  select asked.customer_id, found.user_id, found.model, asked.quarters[found.place] as quarter,
         found.input, found.cache_read, found.cache_write, found.output, found.reasoning, found.events
    from asked cross join lateral (
      select user_id, model, width_bucket(quarter, asked.quarters) as place,
             sum(input) as input, sum(cache_read) as cache_read, sum(cache_write) as cache_write,
             sum(output) as output, sum(reasoning) as reasoning, sum(events)::bigint as events
        from usage_ledger
       where customer_id = asked.customer_id and quarter >= asked.quarters[1]
       group by user_id, model, place
    ) as found`

const ASKED_STRETCHES = `
  with asked as materialized (
    select stretch, customer_id, from_quarter, to_quarter
      from unnest($1::integer[], $2::text[], $3::integer[], $4::integer[]) as list (stretch, customer_id, from_quarter, to_quarter)
  )`

const SUMS = `sum(input) as input, sum(cache_read) as cache_read, sum(cache_write) as cache_write, sum(output) as output,
  sum(reasoning) as reasoning`

const SUM_COLUMNS = 'found.input, found.cache_read, found.cache_write, found.output, found.reasoning'

const ROWS_OF_STRETCH = `from usage_ledger
  where customer_id = asked.customer_id and quarter >= asked.from_quarter and quarter < asked.to_quarter`

function stretchValues(stretches: readonly CustomerStretch[]): string[] {
  return [
    numberArrayLiteral(stretches.map((_, place) => place)),
    textArrayLiteral(stretches.map(({ customerId }) => customerId)),
    numberArrayLiteral(stretches.map(({ from }) => from)),
    numberArrayLiteral(stretches.map(({ to }) => to))
  ]
}

function decodeSums(row: StretchColumns): StretchTokens {
  return { stretch: row.stretch, model: row.model, tokens: toTokenSums({ ...row, events: '0' }) }
}
