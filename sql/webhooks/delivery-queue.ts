// Deliveries as workers take them. Time is that of Postgres throughout: workers whose clocks go apart agree on what is due.

import { sql } from 'slonik'
import { Type } from 'typebox'
import { PLATFORM } from '../../domain/change.ts'
import type { DeliveryQueue, Settlement, TakeAsked } from '../../domain/webhooks/delivery-queue.ts'
import type { DueDelivery } from '../../domain/webhooks/webhook-delivery.ts'
import type { EntityDatabase } from '../connect-slonik.ts'
import { rowParser } from '../encoding/row-parser.ts'

/** Longer than an attempt and its settlement may take together, 10 s each. */
const LEASE_SECONDS = 60
/** Of one endpoint at once: a receiver that is back is not run over. */
const SHARE_MAX = 4
const KEPT_DAYS = 30
const FORGOTTEN_MAX = 5_000

const DUE_ROW = rowParser(
  'webhook_delivery',
  Type.Object({
    endpoint_id: Type.String(),
    event_id: Type.String(),
    url: Type.String(),
    secrets: Type.Array(Type.String()),
    payload: Type.String(),
    attempts: Type.Integer({ minimum: 1 }),
    attempts_of_round: Type.Integer({ minimum: 1 })
  })
)
const NO_ROWS = rowParser('webhook_delivery', Type.Never())

export class PostgresDeliveryQueue implements DeliveryQueue {
  readonly #database: EntityDatabase
  /** The endpoint at which the last page ended: the next one begins behind it, so that each has its turn. */
  #lastEndpointId = ''

  constructor(database: EntityDatabase) {
    this.#database = database
  }

  async take({ limit, busy }: TakeAsked): Promise<readonly DueDelivery[]> {
    const rows = await this.#database.transaction(PLATFORM, 'take deliveries that are due', (transaction) =>
      transaction.any(sql.type(DUE_ROW)`
        with due as materialized (
          select found.endpoint_id, found.event_id
            from (select id from webhook_endpoint
                   where id <> all (${sql.array([...busy], 'text')})
                   order by id <= ${this.#lastEndpointId}, id) as endpoint
           cross join lateral (
             select endpoint_id, event_id from webhook_delivery
              where endpoint_id = endpoint.id and status = 'pending' and next_attempt_at <= now()
              order by next_attempt_at
              limit ${SHARE_MAX}
                for update skip locked) as found
           limit ${limit}
        ), taken as (
          update webhook_delivery as kept
             set attempts = attempts + 1, next_attempt_at = now() + make_interval(secs => ${LEASE_SECONDS})
            from due
           where kept.endpoint_id = due.endpoint_id and kept.event_id = due.event_id
          returning kept.*
        )
        select taken.endpoint_id, taken.event_id, endpoint.url, taken.payload, taken.attempts,
               taken.attempts - taken.attempts_before as attempts_of_round,
               case when endpoint.status = 'disabled' then '{}'
                    when endpoint.previous_secret_ends_at > now() then array[endpoint.secret, endpoint.previous_secret]
                    else array[endpoint.secret] end as secrets
          from taken join webhook_endpoint as endpoint on endpoint.id = taken.endpoint_id
         order by taken.endpoint_id <= ${this.#lastEndpointId}, taken.endpoint_id, taken.event_id`)
    )
    this.#lastEndpointId = rows.at(-1)?.endpoint_id ?? ''
    return rows.map((row) => ({
      endpointId: row.endpoint_id,
      eventId: row.event_id,
      url: row.url,
      secrets: row.secrets,
      payload: row.payload,
      attempts: row.attempts,
      attemptsOfRound: row.attempts_of_round
    }))
  }

  async settle({ endpointId, eventId, attempts }: DueDelivery, { attempt, retryInMs }: Settlement): Promise<void> {
    const fault = attempt.delivered ? null : attempt.fault
    const failed = retryInMs === null ? 'failed' : 'pending'
    const status = attempt.delivered ? 'delivered' : failed
    await this.#database.transaction(PLATFORM, `settle the delivery of ${eventId}`, (transaction) =>
      transaction.query(sql.type(NO_ROWS)`
        update webhook_delivery
           set status = ${status}, last_status = ${attempt.status}, last_error = ${fault},
               next_attempt_at = now() + make_interval(secs => ${(retryInMs ?? 0) / 1_000}::double precision),
               ended_at = case when ${status} = 'pending' then null else now() end
         where endpoint_id = ${endpointId} and event_id = ${eventId} and attempts = ${attempts} and status = 'pending'
           and attempts_before < attempts`)
    )
  }

  async forget(): Promise<number> {
    const { rowCount } = await this.#database.transaction(PLATFORM, 'forget deliveries', (transaction) =>
      transaction.query(sql.type(NO_ROWS)`
        delete from webhook_delivery
         where (endpoint_id, event_id) in (
           select endpoint_id, event_id from webhook_delivery
            where ended_at < now() - make_interval(days => ${KEPT_DAYS})
            order by ended_at
            limit ${FORGOTTEN_MAX}
              for update skip locked)`)
    )
    return rowCount
  }
}
