// The versions of plans, one a row. That a published one never changes is kept by a trigger of the table, whoever writes.

import { type FragmentSqlToken, sql } from 'slonik'
import { Type } from 'typebox'
import { type Change, PLATFORM, type Reach } from '../../domain/change.ts'
import type { Page } from '../../domain/page.ts'
import type { PlanVersion } from '../../domain/subscriptions/plan.ts'
import { planContentToJson } from '../../domain/subscriptions/plan-json.ts'
import type { NewDraft, PlanFilter, PlanStore } from '../../domain/subscriptions/plan-store.ts'
import { refusable } from '../change/refusable.ts'
import { writeChange } from '../change/write-change.ts'
import type { EntityDatabase } from '../connect-slonik.ts'
import { instant, instantOrNull } from '../encoding/instant.ts'
import { decodePageKey, pageById } from '../encoding/page-key.ts'
import { rowParser } from '../encoding/row-parser.ts'
import { PLAN_COLUMNS, PLAN_ROW, toPlan } from './plan-row.ts'

const BEFORE_ALL_IDS = [''] as const
/** First key of the advisory locks under which a code's drafts get their versions; the second is the code's hash. */
const NEW_VERSION_LOCK = 4_001

const LOCKED = rowParser('locks', Type.Object({ lock: Type.String() }))
const NEXT_VERSION = rowParser('plan_version', Type.Object({ version: Type.Integer({ minimum: 1 }) }))
const WRITTEN = rowParser('plan_version', Type.Object({ id: Type.String() }))

export class PostgresPlanStore implements PlanStore {
  readonly #database: EntityDatabase

  constructor(database: EntityDatabase) {
    this.#database = database
  }

  async find(reach: Reach, id: string): Promise<PlanVersion | null> {
    const row = await this.#database.transaction(reach, `find the plan ${id}`, (transaction) =>
      transaction.maybeOne(sql.type(PLAN_ROW)`
        select ${PLAN_COLUMNS} from plan_version where id = ${id} and ${seenBy(reach)}`)
    )
    return row === null ? null : toPlan(row)
  }

  async list(reach: Reach, { code, status, cursor, limit }: PlanFilter): Promise<Page<PlanVersion>> {
    const [afterId] = decodePageKey<readonly [string]>(cursor, BEFORE_ALL_IDS)
    const isCode = code === null ? sql.fragment`true` : sql.fragment`code = ${code}`
    const isStatus = status === null ? sql.fragment`true` : sql.fragment`status = ${status}`
    const isListed = reach.kind === 'platform' ? sql.fragment`true` : sql.fragment`status = 'published'`
    const rows = await this.#database.transaction(reach, 'list plans', (transaction) =>
      transaction.any(sql.type(PLAN_ROW)`
        select ${PLAN_COLUMNS} from plan_version
         where id > ${afterId} and ${isCode} and ${isStatus} and ${isListed} and ${seenBy(reach)}
         order by id
         limit ${limit + 1}`)
    )
    return pageById(rows, limit, toPlan)
  }

  async insert(code: string, draftOf: (version: number) => NewDraft): Promise<PlanVersion> {
    return this.#database.transaction(PLATFORM, `insert a draft of the plan ${code}`, async (transaction) => {
      // Until the end of the transaction: who comes next sees the version given here. `max` alone would give two the same one.
      await transaction.one(sql.type(LOCKED)`
        select pg_advisory_xact_lock(${NEW_VERSION_LOCK}, hashtext(${code}))::text as lock`)
      const { version } = await transaction.one(sql.type(NEXT_VERSION)`
        select coalesce(max(version), 0) + 1 as version from plan_version where code = ${code}`)
      const { plan, change } = draftOf(version)
      const { prices, limits } = planContentToJson(plan)
      return writeChange(transaction, change, async () => {
        await transaction.one(sql.type(WRITTEN)`
          insert into plan_version (id, code, version, status, title, currency, billing_interval, base_fee_minor, trial_days,
                                    only_for, prices, limits, revision, created_at, updated_at, published_at)
          values (${plan.id}, ${plan.code}, ${plan.version}, ${plan.status}, ${plan.title}, ${plan.currency}, ${plan.interval},
                  ${plan.baseFeeMinor}, ${plan.trialDays}, ${plan.onlyFor}, ${JSON.stringify(prices)}::jsonb,
                  ${JSON.stringify(limits)}::jsonb, ${plan.revision}, ${instant(plan.createdAt)}, ${instant(plan.updatedAt)},
                  ${instantOrNull(plan.publishedAt)})
          returning id`)
        return plan
      })
    })
  }

  async update(next: PlanVersion, change: Change): Promise<'updated' | 'other-version'> {
    const { prices, limits } = planContentToJson(next)
    return refusable<'updated' | 'other-version'>((refuse) =>
      this.#database.change(change, `update the plan ${next.id} to revision ${next.revision}`, async (transaction) => {
        const updated = await transaction.maybeOne(sql.type(WRITTEN)`
          update plan_version
             set status = ${next.status}, title = ${next.title}, currency = ${next.currency},
                 billing_interval = ${next.interval}, base_fee_minor = ${next.baseFeeMinor}, trial_days = ${next.trialDays},
                 only_for = ${next.onlyFor}, prices = ${JSON.stringify(prices)}::jsonb,
                 limits = ${JSON.stringify(limits)}::jsonb, revision = ${next.revision},
                 updated_at = ${instant(next.updatedAt)}, published_at = ${instantOrNull(next.publishedAt)}
           where id = ${next.id} and revision = ${next.revision - 1}
          returning id`)
        if (updated === null) throw refuse('other-version')
        return 'updated' as const
      })
    )
  }
}

/** The table has no rows of customers to hide, so what a customer is shown is said here; it sees itself alone in `customer`. */
function seenBy(reach: Reach): FragmentSqlToken {
  if (reach.kind === 'platform') return sql.fragment`true`
  return sql.fragment`status <> 'draft' and (only_for is null or only_for = (
    select kind from customer where id = ${reach.customerId}))`
}
