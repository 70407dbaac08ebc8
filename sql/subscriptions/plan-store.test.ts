import { randomUUIDv7 } from 'node:crypto'
import t from 'tap'
import { type Change, PLATFORM, type Reach } from '../../domain/change.ts'
import { archivePlan, editPlan, type PlanVersion, publishPlan } from '../../domain/subscriptions/plan.ts'
import { planToJson } from '../../domain/subscriptions/plan-json.ts'
import { freshDatabase } from '../../test/services.ts'
import { Database } from '../connect.ts'
import { EntityDatabase } from '../connect-slonik.ts'
import { PostgresPlanStore } from './plan-store.ts'

const NOW = Date.parse('2026-03-12T09:30:00.000Z')
const databaseUrl = await freshDatabase(t)
const entities = new EntityDatabase({ databaseUrl, applicationName: 'plans-test', connectionsMax: 12 })
const platform = new Database({ databaseUrl, applicationName: 'plans-test', role: 'tokenmeter_platform' })
t.teardown(() => Promise.all([entities.close(), platform.close()]))
const store = new PostgresPlanStore(entities)

const REFUSED = /is published and never changes|can not turn from|is named by its id|permission denied/

function changeOf(plan: PlanVersion): Change {
  const actor = { kind: 'service', id: 'test', address: null, requestId: null } as const
  const told = { customerId: null, action: 'plan.changed', entity: { kind: 'plan', id: plan.id }, before: null }
  return {
    reach: PLATFORM,
    audit: [{ id: randomUUIDv7(), actor, ...told, after: planToJson(plan), at: NOW }],
    events: [],
    request: null
  }
}

/** Every field that a plan has, at its ends. */
function draftOf(code: string, version: number, change: Partial<PlanVersion> = {}): PlanVersion {
  return {
    id: randomUUIDv7(),
    code,
    version,
    status: 'draft',
    title: "L'offre",
    currency: 'EUR',
    interval: 'year',
    baseFeeMinor: 999_999_999_999_999_999n,
    trialDays: 365,
    onlyFor: null,
    prices: [
      {
        pool: 'cacheRead',
        model: 'm/*',
        chargeModel: 'volume',
        perTokens: 1_000,
        tiers: [
          { upTo: Number.MAX_SAFE_INTEGER, amount: '0.000000000001' },
          { upTo: null, amount: '999999999999' }
        ],
        includedTokens: Number.MAX_SAFE_INTEGER,
        minimumMinor: 900_719_925_474_099_301n,
        effectiveFrom: NOW
      }
    ],
    limits: [
      {
        id: 'all',
        scope: { kind: 'customer' },
        measure: { kind: 'total' },
        window: { kind: 'plan-period' },
        max: Number.MAX_SAFE_INTEGER,
        mode: 'hard',
        whenUnknown: 'deny'
      }
    ],
    revision: 1,
    createdAt: NOW,
    updatedAt: NOW,
    publishedAt: null,
    ...change
  }
}

function insert(code: string, change: Partial<PlanVersion> = {}): Promise<PlanVersion> {
  return store.insert(code, (version) => {
    const plan = draftOf(code, version, change)
    return { plan, change: changeOf(plan) }
  })
}

/** The plan after a step of its life, stored. */
async function taken(next: PlanVersion | null): Promise<PlanVersion> {
  if (next === null) throw new Error('this plan can not take the step')
  t.equal(await store.update(next, changeOf(next)), 'updated')
  return next
}

function rowsOf(text: string, ...values: unknown[]): Promise<readonly Record<string, unknown>[]> {
  return platform.query('look into the tables', { text, values })
}

async function makeCustomer(id: string, kind: 'sme' | 'institution'): Promise<Reach> {
  await rowsOf(
    `insert into customer (id, kind, status, legal_name, country, currency, time_zone, locale, tax_id, registration_number,
                           contract_reference, payment_terms_days, contacts, metadata, version, created_at, updated_at)
     values ($1, $2, 'active', $1, 'SN', 'XOF', 'Africa/Dakar', 'fr', 't', 'r', 'c', 0, '[]', '{}', 1, now(), now())`,
    id,
    kind
  )
  return { kind: 'customer', customerId: id }
}

t.test('a plan comes back as it was drafted, to the last digit', async (t) => {
  const draft = await insert('whole')
  t.strictSame(await store.find(PLATFORM, draft.id), draft)
  const edited = await taken(
    editPlan(draft, { ...draft, title: 'Offre', prices: [], limits: [], baseFeeMinor: 0n }, NOW + 5)
  )
  t.strictSame(await store.find(PLATFORM, draft.id), edited)
  t.match(edited, { revision: 2, updatedAt: NOW + 5, version: 1 })
  t.equal(await store.find(PLATFORM, 'nobody'), null)
})

t.test('of ten drafts of one code made at once each gets a version of its own, 1 to 10', async (t) => {
  const drafts = await Promise.all(Array.from({ length: 10 }, () => insert('raced')))
  const versions = drafts.map(({ version }) => version).sort((a, b) => a - b)
  t.same(versions, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10])
  const { rows } = await store.list(PLATFORM, { code: 'raced', status: null, cursor: '', limit: 50 })
  t.same(
    rows.map(({ version }) => version).sort((a, b) => a - b),
    versions
  )
  t.equal((await insert('another')).version, 1)
})

t.test('of changes of one revision that race, one wins, and the others leave no trace', async (t) => {
  const draft = await insert('contested')
  const outcomes = await Promise.all(
    Array.from({ length: 6 }, async (_, i) => {
      const next = editPlan(draft, { ...draft, title: `title ${i}` }, NOW)
      return next === null ? null : store.update(next, changeOf(next))
    })
  )
  t.equal(outcomes.filter((outcome) => outcome === 'updated').length, 1)
  t.equal(outcomes.filter((outcome) => outcome === 'other-version').length, 5)
  const trail = await rowsOf('select sequence from audit_event where entity_id = $1', draft.id)
  t.equal(trail.length, 2, 'one for the draft, one for the change that won')
})

t.test('a published plan takes no change of its content, whoever writes it', async (t) => {
  const published = await taken(publishPlan(await insert('frozen'), NOW + 1))
  const statements = [
    `update plan_version set prices = '[]' where id = $1`,
    `update plan_version set limits = '[]' where id = $1`,
    `update plan_version set base_fee_minor = base_fee_minor - 1 where id = $1`,
    `update plan_version set title = 'x', status = 'archived' where id = $1`,
    `update plan_version set published_at = now() where id = $1`,
    `update plan_version set status = 'draft', published_at = null where id = $1`,
    `update plan_version set code = 'other' where id = $1`,
    `update plan_version set version = 7 where id = $1`,
    `delete from plan_version where id = $1`
  ]
  for (const statement of statements) await t.rejects(rowsOf(statement, published.id), REFUSED, statement)
  t.strictSame(await store.find(PLATFORM, published.id), published)
  const edited = { ...published, title: 'x', revision: published.revision + 1 }
  await t.rejects(store.update(edited, changeOf(edited)), /integrity constraint/, 'nor through the store')
  const archived = await taken(archivePlan(published, NOW + 2))
  t.strictSame(await store.find(PLATFORM, published.id), archived)
  await t.rejects(
    rowsOf(`update plan_version set status = 'published' where id = $1`, published.id),
    REFUSED,
    'nor comes back'
  )
  await t.rejects(rowsOf(`update plan_version set prices = '[]' where id = $1`, published.id), REFUSED)
})

t.test('a draft turns into a published plan and nothing else', async (t) => {
  const draft = await insert('straight')
  t.equal(archivePlan(draft, NOW), null)
  await t.rejects(
    rowsOf(`update plan_version set status = 'archived', published_at = now() where id = $1`, draft.id),
    REFUSED,
    'nor in SQL'
  )
  const published = await taken(publishPlan(draft, NOW))
  for (const step of [publishPlan(published, NOW), editPlan(published, published, NOW)]) t.equal(step, null)
})

t.test('a customer sees what is published for its kind, and finds what was', async (t) => {
  const [sme, institution] = [await makeCustomer('shop', 'sme'), await makeCustomer('bank', 'institution')]
  const draft = await insert('seen')
  const open = await taken(publishPlan(await insert('seen'), NOW))
  const held = await taken(publishPlan(await insert('seen', { onlyFor: 'institution' }), NOW))
  const past = await taken(archivePlan(await taken(publishPlan(await insert('seen'), NOW)), NOW))
  const listed = async (reach: Reach, status: PlanVersion['status'] | null = null) => {
    const { rows } = await store.list(reach, { code: 'seen', status, cursor: '', limit: 50 })
    return rows.map(({ id }) => id)
  }
  t.same(await listed(PLATFORM), [draft.id, open.id, held.id, past.id])
  t.same(await listed(PLATFORM, 'draft'), [draft.id])
  t.same(await listed(sme), [open.id])
  t.same(await listed(institution), [open.id, held.id])
  t.same(await listed(institution, 'draft'), [])
  t.same(await listed({ kind: 'customer', customerId: 'nobody' }), [open.id])
  const finds = async (reach: Reach) => {
    const plans = await Promise.all([draft, open, held, past].map(({ id }) => store.find(reach, id)))
    return plans.map((plan) => plan !== null)
  }
  t.same(await finds(sme), [false, true, false, true])
  t.same(await finds(institution), [false, true, true, true])
})

t.test('a customer writes no plan', async (t) => {
  const reach = await makeCustomer('writer', 'sme')
  const draft = await insert('guarded')
  const next = { ...draft, title: 'x', revision: 2 }
  await t.rejects(store.update(next, { ...changeOf(next), reach, audit: [] }), /permission denied/)
  t.strictSame(await store.find(PLATFORM, draft.id), draft)
})

t.test('pages follow each other without gap or repeat', async (t) => {
  const ids: string[] = []
  for (const _ of Array.from({ length: 7 })) ids.push((await insert('paged')).id)
  const seen: string[] = []
  let cursor: string | null = ''
  while (cursor !== null) {
    const page = await store.list(PLATFORM, { code: 'paged', status: null, cursor, limit: 3 })
    t.ok(page.rows.length <= 3)
    seen.push(...page.rows.map(({ id }) => id))
    cursor = page.next
  }
  t.same(seen, ids)
  await t.rejects(store.list(PLATFORM, { code: null, status: null, cursor: 'x', limit: 3 }), {
    name: 'ForeignCursorError'
  })
})

t.test('a damaged row is refused, never half read', async (t) => {
  const { id } = await insert('damaged')
  await rowsOf(`update plan_version set prices = '[{"pool": "input"}]' where id = $1`, id)
  await t.rejects(store.find(PLATFORM, id), /damaged row/)
})
