// Which thresholds of which limits were told, and the events that tell them: one statement, so that an event is in the outbox
// exactly where its row is new.

import { randomUUIDv7 } from 'node:crypto'
import type { QuotaNotice, QuotaNotices } from '../domain/quota-threshold.ts'
import type { CustomerLimits } from '../domain/tokens/limit.ts'
import type { Database } from './connect.ts'
import { CUSTOMER_LIMITS_ROW, toCustomerLimits } from './encoding/customer-limits-row.ts'

const PAGE_CUSTOMERS = 500
/** What is over is no more asked for; a day more forgives clocks that go apart. */
const KEPT_MS = 86_400_000

export class PostgresQuotaNotices implements QuotaNotices {
  readonly #database: Database

  constructor(database: Database) {
    this.#database = database
  }

  async record(notices: readonly QuotaNotice[]): Promise<void> {
    if (notices.length === 0) return
    const before = Math.min(...notices.map(({ at }) => at)) - KEPT_MS
    await this.#database.transaction(`tell ${notices.length} thresholds`, 'read committed', async (run) => {
      await run({ name: 'tell-thresholds', text: TELL, values: columnsOf(notices) })
      await run({
        text: 'delete from quota_notice where customer_id = any($1::text[]) and window_end < $2',
        values: [notices.map(({ customerId }) => customerId), new Date(before)]
      })
    })
  }

  async limitsOf(customerIds: readonly string[]): Promise<readonly CustomerLimits[]> {
    const rows = await this.#database.query(`read the limits of ${customerIds.length} customers`, {
      text: `select customer_id, time_zone, version, limits from customer_limits
              where customer_id = any($1::text[]) and limits is not null`,
      values: [customerIds]
    })
    return rows.map((row) => toCustomerLimits(CUSTOMER_LIMITS_ROW.parse(row)))
  }

  async limitsAfter(
    customerId: string
  ): Promise<{ readonly limits: readonly CustomerLimits[]; readonly next: string | null }> {
    const rows = await this.#database.query(`read the limits after ${JSON.stringify(customerId)}`, {
      text: `select customer_id, time_zone, version, limits from customer_limits
              where customer_id > $1 and limits is not null order by customer_id limit $2`,
      values: [customerId, PAGE_CUSTOMERS]
    })
    const limits = rows.map((row) => toCustomerLimits(CUSTOMER_LIMITS_ROW.parse(row)))
    return { limits, next: limits.length < PAGE_CUSTOMERS ? null : (limits.at(-1)?.customerId ?? null) }
  }
}

/** Rows go in by key, so that two who notice the same do not wait for each other in a circle. */
const TELL = `
  with noticed as (
    select * from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::timestamptz[], $7::text[], $8::integer[],
                         $9::timestamptz[], $10::jsonb[]) with ordinality
      as row (id, customer_id, limit_id, user_id, model, window_end, type, percent, occurred_at, data, place)
  ), told as (
    insert into quota_notice (customer_id, limit_id, user_id, model, window_end, type, percent)
    select customer_id, limit_id, user_id, model, window_end, type, percent from noticed
     order by customer_id collate "C", limit_id collate "C", user_id collate "C", model collate "C", window_end, type, percent
    on conflict do nothing
    returning customer_id, limit_id, user_id, model, window_end, type, percent
  )
  insert into outbox (id, customer_id, type, occurred_at, data)
  select id, customer_id, type, occurred_at, data
    from noticed join told using (customer_id, limit_id, user_id, model, window_end, type, percent)
   order by place`

function columnsOf(notices: readonly QuotaNotice[]): unknown[] {
  return [
    notices.map(() => randomUUIDv7()),
    notices.map(({ customerId }) => customerId),
    notices.map(({ limitId }) => limitId),
    notices.map(({ userId }) => userId ?? ''),
    notices.map(({ model }) => model ?? ''),
    notices.map(({ windowEnd }) => new Date(windowEnd)),
    notices.map(({ type }) => type),
    notices.map(({ percent }) => percent),
    notices.map(({ at }) => new Date(at)),
    notices.map((notice) => JSON.stringify(told(notice)))
  ]
}

/** docs/events/parts/limit-standing.schema.json */
function told({ customerId, limitId, userId, model, percent, used, max, mode, windowEnd }: QuotaNotice) {
  const window = new Date(windowEnd).toISOString()
  return { customerId, limitId, userId, model, percent, used, max, mode, windowEnd: window }
}
