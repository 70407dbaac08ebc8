// The outbox as the relay empties it. Events are written by write-change.ts, in the transaction of the change they tell.
//
// Pages are read in the order of position and removed by position. That order is the order of commits for the events of one
// customer, since a change holds its customer's chain from before it writes its events until it has committed: whoever sees an
// event sees those before it. Of two customers the later position may be seen first; removing "up to a position" would lose the
// earlier one. Holding back what a transaction younger than some running one wrote would not help, and would let events of a
// customer overtake each other: a change may begin before another of the same customer and get the chain after it.

import { Type } from 'typebox'
import type { Outbox, OutboxEvent, RelayTurns } from '../../domain/published-event.ts'
import type { Database, Run } from '../connect.ts'
import { rowParser } from '../encoding/row-parser.ts'
import { translatePostgresError } from '../translate-error.ts'

/** The advisory lock of the relay whose turn it is. */
const RELAY_LOCK = 7_031_996

/** Rows that are counted at most: a backlog of millions is told as this many, and costs no more than this many. */
const COUNTED_MAX = 100_000

const OUTBOX_ROW = rowParser(
  'outbox',
  Type.Object({
    position: Type.String(),
    id: Type.String(),
    customer_id: Type.String(),
    type: Type.String(),
    occurred_ms: Type.String(),
    data: Type.Unsafe<OutboxEvent['data']>(Type.Object({}))
  })
)

export class PostgresOutbox implements RelayTurns {
  readonly #database: Database

  constructor(database: Database) {
    this.#database = database
  }

  /**
   * The lock belongs to the very session that reads and removes, so that a relay that lost its turn can't go on. One that is
   * frozen in between may still send the page in its hands: repeats, which receivers know.
   */
  async withTurn<T>(work: (outbox: Outbox) => Promise<T>): Promise<T | null> {
    const session = await this.#database.session('take the turn of the relay')
    try {
      const [lock] = await translated('take the turn of the relay', () =>
        session.run<{ locked: boolean }>({
          text: 'select pg_try_advisory_lock($1::bigint) as locked',
          values: [RELAY_LOCK]
        })
      )
      return lock?.locked === true ? await work(outboxOf(session.run)) : null
    } finally {
      await session.close()
    }
  }

  /** How many events wait, and since when (ms) the oldest of them; null when none does. */
  async backlog(): Promise<{ readonly waiting: number; readonly oldestAt: number | null }> {
    const [row] = await this.#database.query<{ waiting: string; oldest_ms: string | null }>('read the backlog', {
      text: `select count(*) as waiting, floor(extract(epoch from min(occurred_at)) * 1000)::bigint as oldest_ms
               from (select occurred_at from outbox order by position limit $1) as first`,
      values: [COUNTED_MAX]
    })
    return {
      waiting: Number(row?.waiting ?? 0),
      oldestAt: row === undefined || row.oldest_ms === null ? null : Number(row.oldest_ms)
    }
  }
}

function outboxOf(run: Run): Outbox {
  return {
    take: async (limit) => {
      const rows = await translated('take events of the outbox', () =>
        run({
          name: 'take-events',
          text: `select position, id, customer_id, type,
                        round(extract(epoch from occurred_at) * 1000)::bigint as occurred_ms, data
                   from outbox order by position limit $1`,
          values: [limit]
        })
      )
      return rows.map(toOutboxEvent)
    },
    remove: async (positions) => {
      await translated(`remove ${positions.length} events from the outbox`, () =>
        run({
          name: 'remove-events',
          text: 'delete from outbox where position = any($1::bigint[])',
          values: [positions]
        })
      )
    }
  }
}

function toOutboxEvent(row: unknown): OutboxEvent {
  const { position, id, customer_id: customerId, type, occurred_ms: at, data } = OUTBOX_ROW.parse(row)
  return { position: Number(position), id, type, customerId, at: Number(at), data }
}

async function translated<T>(what: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    throw translatePostgresError(what, error)
  }
}
