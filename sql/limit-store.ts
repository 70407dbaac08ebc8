// What each customer may use: its own limits, as they are put, and when they must be composed with its plan and grants again.

import { sql } from 'slonik'
import { Type } from 'typebox'
import type { LimitStore } from '../domain/api-ports.ts'
import type { Change } from '../domain/change.ts'
import type { CustomerLimits } from '../domain/tokens/limit.ts'
import { refusable } from './change/refusable.ts'
import type { EntityDatabase } from './connect-slonik.ts'
import { CUSTOMER_LIMITS_ROW, toCustomerLimits } from './encoding/customer-limits-row.ts'
import { rowParser } from './encoding/row-parser.ts'

/** Customers that `takeDue` gives out at once, at most. */
const DUE_MAX = 100

const NO_ROWS = rowParser('customer_limits', Type.Never())
const DUE = rowParser('customer_limits', Type.Object({ customer_id: Type.String() }))

export class PostgresLimitStore implements LimitStore {
  readonly #database: EntityDatabase

  constructor(database: EntityDatabase) {
    this.#database = database
  }

  async find(customerId: string): Promise<CustomerLimits | null> {
    const row = await this.#database.run(`find the limits of ${customerId}`, (pool) =>
      pool.maybeOne(sql.type(CUSTOMER_LIMITS_ROW)`
        select customer_id, time_zone, own_version as version, own_limits as limits
          from customer_limits where customer_id = ${customerId}`)
    )
    return row === null ? null : toCustomerLimits(row)
  }

  /**
   * A customer for whom none were put has version 0. Makes the customer due at once, until `setRenewal` says when: had the process
   * died before the meter was told, whoever takes what is due tells it. The zone of a customer of the table `customer` is the one
   * it has there: the row keeps that in which its limits were composed last, by which grants are settled when their windows change.
   */
  async put(
    limits: Omit<CustomerLimits, 'version'>,
    expectedVersion: number | null,
    change: Change
  ): Promise<CustomerLimits | null> {
    const isExpected =
      expectedVersion === null ? sql.fragment`true` : sql.fragment`kept.own_version = ${expectedVersion}`
    const mayInsert = expectedVersion === null || expectedVersion === 0
    const { customerId, timeZone } = limits
    const own = JSON.stringify(limits.limits)
    return refusable<CustomerLimits | null>((refuse) =>
      this.#database.change(change, `put the limits of ${customerId}`, async (transaction) => {
        const row = await transaction.maybeOne(sql.type(CUSTOMER_LIMITS_ROW)`
        insert into customer_limits as kept (customer_id, time_zone, version, limits, own_limits, own_version)
        select ${customerId}, ${timeZone}, 1, null, ${own}::jsonb, 1
         where ${mayInsert} or exists (select from customer_limits where customer_id = ${customerId})
        on conflict (customer_id) do update
           set time_zone = case when exists (select from customer where id = kept.customer_id)
                                then kept.time_zone else excluded.time_zone end,
               version = kept.version + 1, own_limits = excluded.own_limits,
               own_version = kept.own_version + 1, renew_at = 0, updated_at = now()
         where ${isExpected}
        returning customer_id, time_zone, own_version as version, own_limits as limits`)
        if (row === null) throw refuse(null)
        return toCustomerLimits(row)
      })
    )
  }

  /** Whoever dies with a customer in hand leaves it due again after the lease; two callers never take the same one. */
  async takeDue(now: number, leaseMs: number): Promise<readonly string[]> {
    const rows = await this.#database.run('take the customers whose limits are due', (pool) =>
      pool.any(sql.type(DUE)`
        with due as (
          select customer_id, renew_at from customer_limits
           where renew_at <= ${now}
           order by renew_at, customer_id
           limit ${DUE_MAX}
             for update skip locked
        ), taken as (
          update customer_limits set renew_at = ${now + leaseMs}
            from due where customer_limits.customer_id = due.customer_id
          returning customer_limits.customer_id, due.renew_at as was_due_at
        )
        select customer_id from taken order by was_due_at, customer_id`)
    )
    return rows.map(({ customer_id }) => customer_id)
  }

  async setRenewal(customerId: string, version: number, renewAt: number): Promise<void> {
    await this.#database.run(`set the renewal of ${customerId}`, (pool) =>
      pool.any(sql.type(NO_ROWS)`
        update customer_limits set renew_at = ${renewAt} where customer_id = ${customerId} and version = ${version}`)
    )
  }
}
