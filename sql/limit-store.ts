// What each customer may use, as the API sets it and the meter is told of it.

import { sql } from 'slonik'
import { Type } from 'typebox'
import type { LimitStore } from '../domain/api-ports.ts'
import type { CustomerLimits } from '../domain/tokens/limit.ts'
import type { EntityDatabase } from './connect-slonik.ts'
import { CUSTOMER_LIMITS_ROW, toCustomerLimits } from './encoding/customer-limits-row.ts'
import { rowParser } from './encoding/row-parser.ts'

/** Customers that `takeDue` gives out at once, at most. */
const DUE_MAX = 100

const NO_ROWS = rowParser('customer_limits', Type.Never())

export class PostgresLimitStore implements LimitStore {
  readonly #database: EntityDatabase

  constructor(database: EntityDatabase) {
    this.#database = database
  }

  async find(customerId: string): Promise<CustomerLimits | null> {
    const row = await this.#database.run(`find the limits of ${customerId}`, (pool) =>
      pool.maybeOne(sql.type(CUSTOMER_LIMITS_ROW)`
        select customer_id, time_zone, version, limits from customer_limits where customer_id = ${customerId}`)
    )
    return row === null ? null : toCustomerLimits(row)
  }

  /** A customer without limits has version 0. */
  async put(limits: Omit<CustomerLimits, 'version'>, expectedVersion: number | null): Promise<CustomerLimits | null> {
    if (expectedVersion === null) return this.#putWhatever(limits)
    return expectedVersion === 0 ? this.#insert(limits) : this.#update(limits, expectedVersion)
  }

  // Each of the three makes the customer due at once, until `setRenewal` says when: had the process died before the meter
  // was told, whoever takes what is due tells it.

  async #putWhatever(limits: Omit<CustomerLimits, 'version'>): Promise<CustomerLimits> {
    const row = await this.#database.run(`put the limits of ${limits.customerId}`, (pool) =>
      pool.one(sql.type(CUSTOMER_LIMITS_ROW)`
        insert into customer_limits as kept (customer_id, time_zone, version, limits)
        values (${limits.customerId}, ${limits.timeZone}, 1, ${JSON.stringify(limits.limits)}::jsonb)
        on conflict (customer_id) do update
           set time_zone = excluded.time_zone, version = kept.version + 1, limits = excluded.limits, renew_at = 0,
               updated_at = now()
        returning customer_id, time_zone, version, limits`)
    )
    return toCustomerLimits(row)
  }

  async #insert(limits: Omit<CustomerLimits, 'version'>): Promise<CustomerLimits | null> {
    const row = await this.#database.run(`put the first limits of ${limits.customerId}`, (pool) =>
      pool.maybeOne(sql.type(CUSTOMER_LIMITS_ROW)`
        insert into customer_limits (customer_id, time_zone, version, limits)
        values (${limits.customerId}, ${limits.timeZone}, 1, ${JSON.stringify(limits.limits)}::jsonb)
        on conflict (customer_id) do nothing
        returning customer_id, time_zone, version, limits`)
    )
    return row === null ? null : toCustomerLimits(row)
  }

  async #update(limits: Omit<CustomerLimits, 'version'>, version: number): Promise<CustomerLimits | null> {
    const row = await this.#database.run(`put the limits of ${limits.customerId} over version ${version}`, (pool) =>
      pool.maybeOne(sql.type(CUSTOMER_LIMITS_ROW)`
        update customer_limits
           set time_zone = ${limits.timeZone}, version = version + 1, limits = ${JSON.stringify(limits.limits)}::jsonb,
               renew_at = 0, updated_at = now()
         where customer_id = ${limits.customerId} and version = ${version}
        returning customer_id, time_zone, version, limits`)
    )
    return row === null ? null : toCustomerLimits(row)
  }

  /** Whoever dies with a customer in hand leaves it due again after the lease; two callers never take the same one. */
  async takeDue(now: number, leaseMs: number): Promise<readonly CustomerLimits[]> {
    const rows = await this.#database.run('take the customers whose windows are due', (pool) =>
      pool.any(sql.type(CUSTOMER_LIMITS_ROW)`
        with due as (
          select customer_id, renew_at from customer_limits
           where renew_at <= ${now}
           order by renew_at, customer_id
           limit ${DUE_MAX}
             for update skip locked
        ), taken as (
          update customer_limits set renew_at = ${now + leaseMs}
            from due where customer_limits.customer_id = due.customer_id
          returning customer_limits.customer_id, time_zone, version, limits, due.renew_at as was_due_at
        )
        select customer_id, time_zone, version, limits from taken order by was_due_at, customer_id`)
    )
    return rows.map(toCustomerLimits)
  }

  async setRenewal(customerId: string, version: number, renewAt: number): Promise<void> {
    await this.#database.run(`set the renewal of ${customerId}`, (pool) =>
      pool.any(sql.type(NO_ROWS)`
        update customer_limits set renew_at = ${renewAt} where customer_id = ${customerId} and version = ${version}`)
    )
  }
}
