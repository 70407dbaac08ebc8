// Which subscriptions are past due by their invoices and not by their status, or the other way round. Both are derived from what is
// stored, so that a round that died half-way leaves nothing that the next one would not find.

import { type FragmentSqlToken, sql } from 'slonik'
import { OVERDUE_BY_HAND_MS } from '../../../domain/billing/payments/collection-schedule.ts'
import type { OverdueSubscriptions } from '../../../domain/billing/payments/payment-store.ts'
import { PLATFORM } from '../../../domain/change.ts'
import type { Subscription } from '../../../domain/subscriptions/subscription.ts'
import type { EntityDatabase } from '../../connect-slonik.ts'
import { instant } from '../../encoding/instant.ts'
import { SUBSCRIPTION_COLUMNS, SUBSCRIPTION_ROW, toSubscription } from '../../subscriptions/subscription-row.ts'

export class PostgresOverdueSubscriptions implements OverdueSubscriptions {
  readonly #database: EntityDatabase

  /** As the platform's role. */
  constructor(database: EntityDatabase) {
    this.#database = database
  }

  async listOverdue(now: number, limit: number): Promise<readonly Subscription[]> {
    const rows = await this.#database.transaction(PLATFORM, 'list subscriptions to be past due', (transaction) =>
      transaction.any(sql.type(SUBSCRIPTION_ROW)`
        select ${SUBSCRIPTION_COLUMNS} from subscription
         where status = 'active' and id in (select subscription_id from invoice where ${isOverdue(now)})
         order by id
         limit ${limit}`)
    )
    return rows.map(toSubscription)
  }

  async listRecovered(now: number, limit: number): Promise<readonly Subscription[]> {
    const rows = await this.#database.transaction(PLATFORM, 'list subscriptions that recovered', (transaction) =>
      transaction.any(sql.type(SUBSCRIPTION_ROW)`
        select ${SUBSCRIPTION_COLUMNS} from subscription
         where status = 'past_due'
           and not exists (select from invoice where invoice.subscription_id = subscription.id and ${isOverdue(now)})
         order by id
         limit ${limit}`)
    )
    return rows.map(toSubscription)
  }
}

/** One that was given up is still owed. */
function isOverdue(now: number): FragmentSqlToken {
  return sql.fragment`
    invoice.status in ('finalized', 'uncollectible') and invoice.due_minor > invoice.paid_minor + invoice.credited_minor
    and (invoice.charges > 0 or invoice.due_at <= ${instant(now - OVERDUE_BY_HAND_MS)})`
}
