/** Reads the ledger past everything under test but its table. */
import type { Database } from '../../sql/connect.ts'

export interface LedgerQuestion {
  readonly customerId: string
  readonly userId?: string
  /** Only usage at or after this instant, ms since the epoch: a full quarter-hour. */
  readonly since?: number
}

const QUARTER_HOUR_MS = 900_000

export class LedgerReader {
  readonly #database: Database

  constructor(database: Database) {
    this.#database = database
  }

  async tokens({ customerId, userId, since = 0 }: LedgerQuestion): Promise<number> {
    const [row] = await this.#database.query<{ tokens: string }>('add up what the ledger has', {
      text: `select coalesce(sum(input + cache_read + cache_write + output + reasoning), 0) as tokens
               from usage_ledger
              where customer_id = $1 and ($2::text is null or user_id = $2) and quarter >= $3`,
      values: [customerId, userId ?? null, Math.floor(since / QUARTER_HOUR_MS)]
    })
    return Number(row?.tokens ?? 0)
  }

  /** Events counted and not taken back. */
  async events(customerId: string): Promise<number> {
    const [row] = await this.#database.query<{ events: string }>('count what the ledger has', {
      text: 'select coalesce(sum(events), 0) as events from usage_ledger where customer_id = $1',
      values: [customerId]
    })
    return Number(row?.events ?? 0)
  }

  /** How many records were not counted for this reason. */
  async uncounted(reason: string): Promise<number> {
    const [row] = await this.#database.query<{ count: string }>('count what was not counted', {
      text: 'select count(*) as count from usage_uncounted where reason = $1',
      values: [reason]
    })
    return Number(row?.count ?? 0)
  }
}
