// Bills boundaries that are due, a batch a transaction. Whoever has one in hand holds its row, so that nobody else takes it, and the
// trail of its customer, so that neither grants nor credit of it are used twice. What makes a second invoice impossible whatever
// happens is the unique key of invoices.

import { randomUUIDv7 } from 'node:crypto'
import type {
  BillingRound,
  BillingStatus,
  BillingStore,
  Judging,
  ParkedBoundary,
  RoundOutcome,
  ToldStory
} from '../../domain/billing/invoices/billing-store.ts'
import type { BilledPeriod, Boundary, BoundaryStory } from '../../domain/billing/invoices/boundary-story.ts'
import type { Drafted } from '../../domain/billing/invoices/draft-invoice.ts'
import { draftOf } from '../../domain/billing/invoices/issue-invoice.ts'
import { type ParkReason, type ToldParkReason, tellParkReason } from '../../domain/billing/invoices/park-reason.ts'
import { holdTrails } from '../change/trail-batch.ts'
import type { Database, Run } from '../connect.ts'
import { numberArrayLiteral, textArrayLiteral } from '../encoding/array-literal.ts'
import { msColumn } from '../encoding/instant.ts'
import { loadStories, loadUsage, type PlanMemory } from './load-stories.ts'
import { finalizeInvoices, writeDrafts } from './write-invoices.ts'

export class PostgresBillingStore implements BillingStore {
  readonly #database: Database
  readonly #plans: PlanMemory = new Map()

  /** As the platform's role. */
  constructor(database: Database) {
    this.#database = database
  }

  async billDue(round: BillingRound, judging: Judging): Promise<RoundOutcome | null> {
    return this.#database.transaction('bill what is due', 'read committed', async (run) => {
      const due = await takeDue(run, round)
      if (due.length === 0) return null
      const heads = await holdTrails(
        run,
        due.map(({ customerId }) => customerId)
      )
      const { adjustmentWindowMs } = round
      const stories = await loadStories({ run, plans: this.#plans, adjustmentWindowMs }, due)
      const drafted = await draftAll(run, stories, judging)
      if (drafted.length !== due.length) throw new Error(`${due.length} boundaries were judged ${drafted.length} times`)
      const drafts = drafted.flatMap((outcome) =>
        'content' in outcome && outcome.content !== null
          ? [draftOf({ id: randomUUIDv7(), content: outcome.content, now: round.now })]
          : []
      )
      if (round.asDrafts) await writeDrafts(run, heads, drafts)
      else await finalizeInvoices(run, heads, { drafts, round })
      const ids = new Map(drafts.map(({ id, subscriptionId }) => [subscriptionId, id]))
      const outcomes = due.map((boundary, i) => outcomeOf(boundary, drafted[i], ids))
      await writeOutcomes(run, outcomes, round.now)
      await writeSettlements(run, stories, round)
      return countOutcomes(outcomes)
    })
  }

  async storyNow(subscriptionId: string, at: number, adjustmentWindowMs: number): Promise<ToldStory | null> {
    return this.#database.transaction('tell the running period', 'repeatable read read only', async (run) => {
      const [open] = await run<{ customer_id: string; ends_at: number }>({
        text: `select customer_id, ${msColumn('ends_at')} from subscription_period where subscription_id = $1 and status = 'open'`,
        values: [subscriptionId]
      })
      if (open === undefined) return null
      const boundary = { subscriptionId, customerId: open.customer_id, at: open.ends_at }
      const [story] = await loadStories({ run, plans: this.#plans, adjustmentWindowMs }, [boundary])
      if (story === undefined) throw new Error(`no story of ${subscriptionId}`)
      const cut = cutAt(story, at)
      const [usage = []] = await loadUsage(run, [cut])
      return { story: cut, usage }
    })
  }

  async storyAt(boundary: Boundary): Promise<BoundaryStory> {
    return this.#database.transaction('tell a boundary', 'repeatable read read only', async (run) => {
      const [story] = await loadStories({ run, plans: this.#plans, adjustmentWindowMs: 0 }, [boundary])
      if (story === undefined) throw new Error(`no story of ${boundary.subscriptionId}`)
      return story
    })
  }

  async status(dueBefore: number, subscriptionId?: string): Promise<BillingStatus> {
    const rows = await this.#database.query<{
      state: 'due' | 'parked'
      code: ParkReason['code'] | null
      boundaries: string
      oldest: number
    }>('count what is due', {
      text: `select state, reason->>'code' as code, count(*) as boundaries, ${msColumn('oldest', 'min(due_at)')}
               from billing_boundary
              where state in ('due', 'parked') and due_at <= to_timestamp($1::double precision / 1000)
                and ($2::text is null or subscription_id = $2)
              group by state, reason->>'code'`,
      values: [dueBefore, subscriptionId ?? null]
    })
    const parkedByReason = new Map(
      rows.flatMap(({ code, boundaries }) => (code === null ? [] : [[code, Number(boundaries)] as const]))
    )
    return {
      due: Number(rows.find(({ state }) => state === 'due')?.boundaries ?? 0),
      parked: [...parkedByReason.values()].reduce((sum, boundaries) => sum + boundaries, 0),
      parkedByReason,
      oldestDueAt: rows.length === 0 ? null : Math.min(...rows.map(({ oldest }) => oldest))
    }
  }

  async listParked(limit: number, subscriptionId?: string): Promise<readonly ParkedBoundary[]> {
    const rows = await this.#database.query<{
      subscription_id: string
      customer_id: string
      boundary: number
      reason: ToldParkReason
      attempted_at: number
    }>('list what is parked', {
      text: `select subscription_id, customer_id, ${msColumn('boundary')}, reason, ${msColumn('attempted_at')}
               from billing_boundary where state = 'parked' and ($2::text is null or subscription_id = $2)
              order by billing_boundary.boundary, subscription_id limit $1`,
      values: [limit, subscriptionId ?? null]
    })
    return rows.map((row) => ({
      subscriptionId: row.subscription_id,
      customerId: row.customer_id,
      boundary: row.boundary,
      reason: row.reason,
      attemptedAt: row.attempted_at
    }))
  }
}

async function draftAll(run: Run, stories: readonly BoundaryStory[], judging: Judging): Promise<readonly Drafted[]> {
  const behind = await judging.behind(stories)
  if (behind !== null) return stories.map(() => ({ parked: behind }))
  const usage = await loadUsage(run, stories)
  return judging.judge(stories.map((story, i) => ({ story, usage: usage[i] ?? [] })))
}

/**
 * Locked until the transaction ends. Of a subscription the first that is open, of a customer one: the next of them are taken by the
 * next round, which sees what this one used up.
 */
async function takeDue(run: Run, round: BillingRound): Promise<readonly Boundary[]> {
  const rows = await run<{ subscription_id: string; customer_id: string; at: number }>({
    name: 'take-due-boundaries',
    text: `select subscription_id, customer_id, ${msColumn('at', 'boundary')}
             from billing_boundary as due
            where state in ('due', 'parked')
              and due_at <= to_timestamp($1::double precision / 1000)
              and (attempted_at is null or attempted_at < to_timestamp($2::double precision / 1000))
              and ($4::text is null or subscription_id = $4)
              and not exists (select from billing_boundary as earlier
                               where earlier.subscription_id = due.subscription_id and earlier.boundary < due.boundary
                                 and earlier.state in ('due', 'parked'))
            order by due_at, subscription_id
            limit $3
              for update skip locked`,
    values: [round.dueBefore, round.startedAt, round.limit, round.subscriptionId]
  })
  const firsts = new Map<string, Boundary>()
  for (const { subscription_id: subscriptionId, customer_id: customerId, at } of rows) {
    if (!firsts.has(customerId)) firsts.set(customerId, { subscriptionId, customerId, at })
  }
  return [...firsts.values()]
}

interface Outcome {
  readonly boundary: Boundary
  readonly state: 'billed' | 'empty' | 'parked'
  readonly invoiceId: string | null
  readonly reason: ParkReason | null
}

function outcomeOf(boundary: Boundary, drafted: Drafted | undefined, ids: ReadonlyMap<string, string>): Outcome {
  if (drafted === undefined) throw new Error(`boundary ${boundary.at} of ${boundary.subscriptionId} was not judged`)
  if ('parked' in drafted) return { boundary, state: 'parked', invoiceId: null, reason: drafted.parked }
  const invoiceId = ids.get(boundary.subscriptionId) ?? null
  return { boundary, state: invoiceId === null ? 'empty' : 'billed', invoiceId, reason: null }
}

async function writeOutcomes(run: Run, outcomes: readonly Outcome[], now: number): Promise<void> {
  const rows = outcomes.map(({ boundary, state, invoiceId, reason }) => ({
    subscription_id: boundary.subscriptionId,
    at_ms: boundary.at,
    state,
    invoice_id: invoiceId,
    reason: reason === null ? null : tellParkReason(reason)
  }))
  await run({
    name: 'write-billing-outcomes',
    text: `update billing_boundary as kept
              set state = row.state, invoice_id = row.invoice_id, reason = row.reason,
                  attempted_at = to_timestamp($2::double precision / 1000)
             from json_to_recordset($1::json)
               as row (subscription_id text, at_ms double precision, state text, invoice_id text, reason jsonb)
            where kept.subscription_id = row.subscription_id and kept.boundary = to_timestamp(row.at_ms / 1000)`,
    values: [JSON.stringify(rows), now]
  })
}

/** After the last period of a subscription: what came late for it is settled when nothing more is rated again. */
async function writeSettlements(run: Run, stories: readonly BoundaryStory[], round: BillingRound): Promise<void> {
  const over = stories.filter(({ ended, begins }) => ended !== null && begins === null)
  if (over.length === 0) return
  await run({
    text: `insert into billing_boundary (subscription_id, boundary, customer_id, kind, state, due_at)
           select id, to_timestamp(at::double precision / 1000), customer_id, 'settlement', 'due', to_timestamp(at::double precision / 1000)
             from unnest($1::text[], $2::text[], $3::bigint[]) as row (id, customer_id, at)
           on conflict (subscription_id, boundary) do nothing`,
    values: [
      textArrayLiteral(over.map(({ boundary }) => boundary.subscriptionId)),
      textArrayLiteral(over.map(({ boundary }) => boundary.customerId)),
      numberArrayLiteral(over.map(({ boundary }) => boundary.at + round.adjustmentWindowMs))
    ]
  })
}

function countOutcomes(outcomes: readonly Outcome[]): RoundOutcome {
  const count = (state: Outcome['state']) => outcomes.filter((outcome) => outcome.state === state).length
  return { invoiced: count('billed'), empty: count('empty'), parked: count('parked') }
}

/** The story as if the running period ended at `at`, but for its fees, which are those of all of it. */
function cutAt(story: BoundaryStory, at: number): BoundaryStory {
  const { ended } = story
  if (ended === null) return story
  const end = Math.min(Math.max(at, ended.start), ended.end)
  const running: BilledPeriod = { ...ended, end }
  return { ...story, ended: running, changes: story.changes.filter((change) => change.at <= end) }
}
