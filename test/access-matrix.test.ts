// Every route × every kind of credential × one's own and another customer's rows, made from the route table: what is let in,
// what is refused and how, and that nothing of another customer is ever told or changed.

import { generateKeyPairSync } from 'node:crypto'
import t from 'tap'
import { type AccessRule, EVERY_ROLE, SCOPES } from '../api/access/access-rule.ts'
import { parseApiKeys } from '../api/access/configured-keys.ts'
import {
  type CustomerRows,
  casesOf,
  type Document,
  type Fixtures,
  type IdCase,
  type MatrixRequest,
  type Route,
  requestOf,
  routesOf
} from '../api/access/matrix-requests.ts'
import { RULES, tokenOf } from '../api/access/test-tokens.ts'
import { tokenVerifier } from '../api/access/verify-token.ts'
import { API_KEY, NOW } from '../api/ports-in-memory.ts'
import { billDue } from '../billing-job/bill-due.ts'
import { hashOf } from '../domain/customers/api-key.ts'
import { Database } from '../sql/connect.ts'
import { ALL_AGREE, TERMS } from './billing/billing-service.ts'
import { startCustomerService } from './customer-service.ts'

const HOLD = {
  holdId: 'hold-7f3a',
  customerId: 'in-memory',
  userId: '',
  model: 'm',
  tokens: { input: 1, cacheRead: 0, cacheWrite: 0, output: 0, reasoning: 0 },
  state: 'held',
  expiresAt: NOW + 1_000
} as const

const service = await startCustomerService(
  t,
  { holdOutcome: () => ({ outcome: 'held', hold: HOLD, limits: [] }) },
  {
    access: {
      configuredKeys: parseApiKeys(`test:${hashOf(API_KEY)}`),
      tokens: tokenVerifier(RULES),
      cacheMs: 600_000,
      keyEnvironment: 'test',
      requestsPerMinute: 0,
      trustedProxies: []
    }
  }
)
const { app, call, told, answers } = service
const document: Document = JSON.parse((await app.inject('/openapi.json')).payload)
const routes = routesOf(app.routeTable)

/** The one route of the version that asks for no credential. */
const SIGNED_ROUTE = '/v1/payment-events/stripe'

interface Credential {
  readonly name: string
  readonly headers: Readonly<Record<string, string>>
  /** What it may do where the rule of a route is this one. */
  readonly verdict: (rule: AccessRule) => 'unauthenticated' | 'denied' | 'platform' | 'customer'
}

async function made(route: `POST ${string}`, body: object): Promise<string> {
  const answer = await call(route, body)
  if (answer.status !== 201) throw new Error(`${route} ${answer.status}: ${answer.text.slice(0, 300)}`)
  return answer.body.secret ?? answer.body.id
}

function exampleBody(path: string): object {
  const media = Object.values(document.paths[path]?.post?.requestBody?.content ?? {})[0]
  const example = media?.example ?? Object.values(media?.examples ?? {})[0]?.value
  return typeof example === 'object' && example !== null ? example : {}
}

const planId = await publishedPlan()

async function publishedPlan(): Promise<string> {
  const id = await made('POST /v1/plans', exampleBody('/v1/plans'))
  const { status, text } = await call(`POST /v1/plans/${id}/publish`)
  if (status !== 200) throw new Error(`the plan is not published: ${text}`)
  return id
}

async function rowsOf(canary: string): Promise<CustomerRows> {
  const customer = { ...exampleBody('/v1/customers'), legalName: canary, externalId: canary }
  const customerId = await made('POST /v1/customers', customer)
  const endpoint = { customerId, url: `https://${canary}.example.test/`, description: canary }
  const { id: webhookEndpointId } = (await call('POST /v1/webhook-endpoints', endpoint)).body
  const user = {
    ...exampleBody('/v1/customers/{customerId}/users'),
    email: `${canary}@example.test`,
    name: canary,
    role: 'viewer'
  }
  const userId = await made(`POST /v1/customers/${customerId}/users`, user)
  const subscription = { ...exampleBody('/v1/subscriptions'), customerId, planId }
  const subscriptionId = await made('POST /v1/subscriptions', subscription)
  const grants = '/v1/customers/{customerId}/grants'
  const grantId = await made(`POST /v1/customers/${customerId}/grants`, exampleBody(grants))
  await call('POST /v1/api-keys', { customerId, name: canary, scopes: ['usage:read'] })
  const keys = await call(`GET /v1/api-keys?customerId=${customerId}`)
  const limits = { timeZone: 'UTC', limits: [] }
  await call(`PUT /v1/customers/${customerId}/limits`, limits)
  const deliveries = await call(`GET /v1/webhook-endpoints/${webhookEndpointId}/deliveries?limit=1`)
  const { eventId } = deliveries.body.data[0]
  const apiKeyId = keys.body.data[0].id
  const invoiceId = await billed(subscriptionId)
  const creditNotes = '/v1/invoices/{invoiceId}/credit-notes'
  const creditNoteId = await made(`POST /v1/invoices/${invoiceId}/credit-notes`, exampleBody(creditNotes))
  const { paymentId } = await paid(customerId, invoiceId)
  return {
    customerId,
    userId,
    subscriptionId,
    grantId,
    invoiceId,
    creditNoteId,
    paymentId,
    apiKeyId,
    webhookEndpointId,
    eventId,
    canary
  }
}

/** By hand, in part; and an account to pay through. */
async function paid(customerId: string, invoiceId: string): Promise<{ readonly paymentId: string }> {
  const payment = { ...exampleBody('/v1/invoices/{invoiceId}/payments'), amountMinor: '10' }
  const paymentId = await made(`POST /v1/invoices/${invoiceId}/payments`, payment)
  const account = { provider: 'stripe', providerCustomer: `cus_${customerId}`, providerMethod: 'pm_card' }
  const { status, text } = await call(`PUT /v1/customers/${customerId}/payment-account`, account)
  if (status !== 200) throw new Error(`no account was put: ${text}`)
  return { paymentId }
}

/** The first invoice, of the base fee in advance. */
async function billed(subscriptionId: string): Promise<string> {
  await call(`POST /v1/subscriptions/${subscriptionId}/activate`)
  const terms = { ...TERMS, graceMs: 0 }
  const ask = { batchSize: 10, concurrency: 1, subscriptionId, onProgress: () => undefined, isStopped: () => false }
  await billDue({ store: service.billingStore, gate: ALL_AGREE, terms, now: service.now }, ask)
  const { body } = await call(`GET /v1/invoices?subscriptionId=${subscriptionId}`)
  return body.data[0].id
}

const own = await rowsOf('canary-of-a')
const foreign = await rowsOf('canary-of-b')
// What the example of a void takes back.
answers.counted = [
  {
    kind: 'used',
    id: 'evt-0001',
    source: '/ia-service/paris-1',
    customerId: own.customerId,
    occurredAt: NOW,
    userId: '',
    model: 'm',
    provider: 'p',
    operation: '',
    requestId: '',
    holdId: '',
    tokens: HOLD.tokens,
    metadata: {}
  }
]
const fixtures: Fixtures = { document, planId, own, foreign }

async function credentials(): Promise<Credential[]> {
  const bearer = (text: string) => ({ authorization: `Bearer ${text}` })
  const exp = NOW / 1_000 - 3_600
  const stranger = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey
  const keyFor = (name: string, scopes: readonly string[], customerId?: string) =>
    made('POST /v1/api-keys', { name, scopes, ...(customerId === undefined ? {} : { customerId }) })
  // A key of one scope lacks every other; two of them lack each scope between them.
  const [firstScope, ...otherScopes] = SCOPES
  const isLet = (rule: AccessRule, holds: boolean) => (holds && rule.roles.length > 0 ? 'customer' : 'denied')
  return [
    { name: 'nobody', headers: {}, verdict: () => 'unauthenticated' },
    { name: 'forged token', headers: bearer(await tokenOf({ key: stranger })), verdict: () => 'unauthenticated' },
    { name: 'expired token', headers: bearer(await tokenOf({ claims: { exp } })), verdict: () => 'unauthenticated' },
    { name: 'platform key', headers: bearer(await keyFor('all', SCOPES)), verdict: () => 'platform' },
    { name: 'platform token', headers: bearer(await tokenOf()), verdict: () => 'platform' },
    {
      name: 'platform key of one scope',
      headers: bearer(await keyFor('first', [firstScope])),
      verdict: ({ scope }) => (scope === firstScope ? 'platform' : 'denied')
    },
    {
      name: 'platform key of all others',
      headers: bearer(await keyFor('others', otherScopes)),
      verdict: ({ scope }) => (scope === firstScope ? 'denied' : 'platform')
    },
    ...(await Promise.all(
      EVERY_ROLE.map(async (role): Promise<Credential> => {
        const claims = { sub: `${role}-of-a`, tokenmeter_role: role, customer_id: own.customerId }
        return {
          name: role,
          headers: bearer(await tokenOf({ claims })),
          verdict: ({ roles }) => (roles.includes(role) ? 'customer' : 'denied')
        }
      })
    )),
    {
      name: "customer's key",
      headers: bearer(await keyFor('all of a', SCOPES, own.customerId)),
      verdict: (rule) => isLet(rule, true)
    },
    {
      name: "customer's key of one scope",
      headers: bearer(await keyFor('first of a', [firstScope], own.customerId)),
      verdict: (rule) => isLet(rule, rule.scope === firstScope)
    }
  ]
}

interface Case {
  readonly route: Route
  readonly credential: Credential
  readonly idCase: IdCase
}

/** Null: as it should be. */
function faultOf({ route, credential, idCase }: Case, status: number): string | null {
  // Signed by who calls: no credential opens it.
  if (route.url === SIGNED_ROUTE && route.access === 'public') return status === 401 ? null : 'is not 401'
  if (route.access === undefined || route.access === 'public') return 'states no rule'
  const verdict = credential.verdict(route.access)
  if (verdict === 'unauthenticated') return status === 401 ? null : 'is not 401'
  if (verdict === 'denied') return status === 403 ? null : 'is not 403'
  if (verdict === 'customer' && idCase !== 'own') return status === 404 ? null : 'is not 404'
  // What a platform key asks of a row under the wrong customer is not there for it either.
  if (idCase === 'foreign row' && status === 404) return null
  return [400, 401, 403, 404, 422, 429].includes(status) || status >= 500 ? 'is not let in' : null
}

/** What a customer's credential must never read: unless its own request says it. */
function leaksOf(credential: Credential, { url, payload = '' }: MatrixRequest, answer: string): string[] {
  if (credential.name.startsWith('platform')) return []
  return Object.values(foreign).filter(
    (text: string) => answer.includes(text) && !url.includes(text) && !payload.includes(text)
  )
}

async function rowsInDatabase(customerId: string): Promise<string> {
  const database = new Database({ databaseUrl: service.databaseUrl, applicationName: 'matrix', role: 'login' })
  try {
    const tables = await database.query<{ name: string }>('list tables', {
      text: `select table_name as name from information_schema.columns
              where column_name = 'customer_id' and table_schema = 'public' order by 1`
    })
    const dumps: string[] = []
    for (const { name } of [...tables, { name: 'customer' }]) {
      const column = name === 'customer' ? 'id' : 'customer_id'
      const rows = await database.query<{ row: string }>('read rows', {
        text: `select t::text as row from ${name} t where ${column} = $1 order by 1`,
        values: [customerId]
      })
      dumps.push(...rows.map(({ row }) => `${name}: ${row}`))
    }
    return dumps.join('\n')
  } finally {
    await database.close()
  }
}

function allCases(everyone: readonly Credential[]): Case[] {
  return routes.flatMap((route) =>
    everyone.flatMap((credential) =>
      casesOf(route, fixtures)
        .filter((idCase) => idCase === 'own' || !changesOther(route, credential))
        .map((idCase) => ({ route, credential, idCase }))
    )
  )
}

/** The platform may change any customer: the other one is left alone, to be compared. */
function changesOther({ access, method }: Route, credential: Credential): boolean {
  if (access === undefined || access === 'public' || ['GET', 'HEAD'].includes(method)) return false
  return credential.verdict(access) === 'platform'
}

t.test('every route lets in whom its rule names, for their own customer, and tells nobody of another', async (t) => {
  const everyone = await credentials()
  const before = await rowsInDatabase(foreign.customerId)
  t.match(before, foreign.canary)
  const faults: string[] = []
  const leaks: string[] = []
  let cases = 0
  for (const { route, credential, idCase } of allCases(everyone)) {
    const request = requestOf(route, idCase, fixtures)
    const response = await app.inject({ ...request, headers: { ...request.headers, ...credential.headers } })
    const name = `${route.method} ${route.url}, ${credential.name}, ${idCase}`
    const fault = faultOf({ route, credential, idCase }, response.statusCode)
    if (fault !== null) faults.push(`${name}: ${response.statusCode} ${fault}: ${response.payload.slice(0, 300)}`)
    leaks.push(...leaksOf(credential, request, response.payload).map((text) => `${name} tells ${text}`))
    cases += 1
  }
  t.same(faults, [])
  t.same(leaks, [])
  t.equal(await rowsInDatabase(foreign.customerId), before, 'nothing of the other customer changed')
  t.ok(routes.length >= 30 && cases >= 15 * routes.length)
  t.comment(`${routes.length} routes × ${everyone.length} roles × ${cases} cases, ${leaks.length} leaks`)
})

t.test('a query that may name a customer is narrowed to the own one, however it is asked', async (t) => {
  const claims = { tokenmeter_role: 'viewer', customer_id: own.customerId }
  const headers = { authorization: `Bearer ${await tokenOf({ claims })}` }
  const range = 'from=2026-01-01T00:00:00Z&to=2026-01-02T00:00:00Z'
  const asked = async (query: string) => (await app.inject({ url: `/v1/usage?${range}${query}`, headers })).statusCode
  told.asks.length = 0
  t.equal(await asked(''), 200)
  t.equal(await asked('&groupBy=customer'), 200)
  t.match(told.asks, [{ customerId: own.customerId }, { customerId: own.customerId }])
  t.equal(await asked(`&customerId=${foreign.customerId}`), 404)
  t.not(await asked(`&customerId=${own.customerId}&customerId=${foreign.customerId}`), 200)
  t.not(await asked(`&customerId[]=${foreign.customerId}`), 200)
  t.equal(await asked(`&customer%49d=${foreign.customerId}`), 404)
  t.equal(told.asks.length, 2)
})

t.test('a path that is spelt another way leads to no other customer', async (t) => {
  const claims = { tokenmeter_role: 'owner', customer_id: own.customerId }
  const headers = { authorization: `Bearer ${await tokenOf({ claims })}` }
  const { customerId } = foreign
  const encoded = [...customerId].map((character) => `%${character.charCodeAt(0).toString(16)}`).join('')
  for (const path of [
    customerId,
    encoded,
    customerId.toUpperCase(),
    `${own.customerId}%2f..%2f${customerId}`,
    `${own.customerId}/../${customerId}`,
    `${customerId}%00`,
    ` ${customerId}`
  ]) {
    for (const noun of ['', '/limits', '/balance', '/users']) {
      const response = await app.inject({ url: `/v1/customers/${path}${noun}`, headers })
      t.ok([400, 404].includes(response.statusCode), `${path}${noun} ${response.statusCode}`)
      t.notMatch(response.payload, foreign.canary)
    }
  }
})
