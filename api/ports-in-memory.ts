/**
 * An app for tests that inject: its ports are plain values, each answering what the test says. They stand for no store: what
 * needs one is tested on the real one.
 */
import { createHash } from 'node:crypto'
import Fastify from 'fastify'
import type { HoldOutcome, LimitStanding, Standing, UsageQuery, UsageRow } from '../domain/api-ports.ts'
import { SeenUsers } from '../domain/customers/user-activity.ts'
import { DEFAULT_DECODE_LIMITS } from '../domain/tokens/decode-cloud-event.ts'
import type { CompiledLimits, CustomerLimits } from '../domain/tokens/limit.ts'
import type { UsageEvent } from '../domain/tokens/usage-event.ts'
import type { Api, ApiDependencies } from './api-dependencies.ts'
import { buildApp } from './app.ts'
import { limitRefresh } from './renew-limits.ts'

export const NOW = Date.parse('2026-03-12T09:30:00.000Z')
export const API_KEY = 'tm_test_0123456789abcdef'

export function standingOf(limit: Partial<LimitStanding> = {}): LimitStanding {
  const { max = 1000, used = 0, held = 0 } = limit
  return {
    id: 'month-total',
    resetsAt: NOW + 3_600_000,
    mode: 'hard',
    whenUnknown: 'deny',
    unknown: null,
    asked: 0,
    ...limit,
    max,
    used,
    held,
    remaining: Math.max(0, max - used - held)
  }
}

export function knownStanding(...limits: readonly LimitStanding[]): Standing {
  return { known: true, limits, countedUpTo: NOW - 120, total: 0 }
}

const METHODS = ['GET', 'POST', 'PUT', 'PATCH', 'DELETE'] as const
type Method = (typeof METHODS)[number]

/** What the ports answer; a function that throws is a port that is away. */
export interface Answers {
  standing: () => Standing
  holdOutcome: () => HoldOutcome
  usage: (query: UsageQuery) => readonly UsageRow[]
  setLimits: (limits: CompiledLimits) => void
  append: (events: readonly UsageEvent[]) => void
  counted: readonly UsageEvent[]
  ready: boolean
  apiKeys: ApiDependencies['access']['configuredKeys']
  corsOrigins: readonly string[]
}

/** What the ports were told. */
export interface Told {
  readonly asks: unknown[]
  readonly appended: UsageEvent[]
  readonly renewals: unknown[]
  readonly compiled: CompiledLimits[]
  readonly answers: { readonly route: string; readonly status: number }[]
  /** Of checks and holds. */
  readonly outcomes: string[]
  readonly limits: Map<string, CustomerLimits>
}

export interface TestApp {
  readonly app: Api
  readonly answers: Answers
  readonly told: Told
  /** Injects with the API key and, given a body, as JSON. */
  call: (
    route: `${Method} ${string}`,
    body?: string | object | readonly unknown[],
    headers?: Record<string, string>
  ) => Promise<Called>
}

export interface Called {
  readonly status: number
  readonly headers: Readonly<Record<string, unknown>>
  readonly text: string
  // biome-ignore lint/suspicious/noExplicitAny: tests look into answers of every shape
  readonly body: any
}

/** `stores`: the real ones, of a test that has a database; the others throw when they are asked. */
export async function startTestApp(
  given: Partial<Answers> = {},
  stores: Partial<ApiDependencies> = {}
): Promise<TestApp> {
  const answers: Answers = {
    standing: () => knownStanding(standingOf()),
    holdOutcome: () => ({ outcome: 'not-found' }),
    usage: () => [],
    setLimits: () => undefined,
    append: () => undefined,
    counted: [],
    ready: true,
    apiKeys: [{ name: 'test', sha256: createHash('sha256').update(API_KEY).digest() }],
    corsOrigins: [],
    ...given
  }
  const told: Told = {
    asks: [],
    appended: [],
    renewals: [],
    compiled: [],
    answers: [],
    outcomes: [],
    limits: new Map()
  }
  const app = await buildApp({ ...dependenciesOf(answers, told), ...stores })
  return { app, answers, told, call: callOn(app) }
}

function callOn(app: Api): TestApp['call'] {
  return async (route, body, headers = {}) => {
    const method = METHODS.find((name) => route.startsWith(`${name} `)) ?? 'GET'
    const json = body === undefined ? {} : { 'content-type': 'application/json' }
    const payload = body === undefined ? {} : { payload: typeof body === 'string' ? body : JSON.stringify(body) }
    const response = await app.inject({
      method,
      url: route.slice(method.length + 1),
      headers: { 'x-api-key': API_KEY, ...json, ...headers },
      ...payload
    })
    const isJson = String(response.headers['content-type']).includes('json')
    return {
      status: response.statusCode,
      headers: response.headers,
      text: response.payload,
      body: isJson ? response.json() : undefined
    }
  }
}

/** Of invoices and payments. */
const BILLING = {
  jobQueues: [],
  invoiceStore: { find: noStore, list: noStore, finalize: noStore, close: noStore },
  creditNoteStore: { find: noStore, list: noStore, insert: noStore },
  billingStories: { storyAt: noStore, storyNow: noStore },
  lineLedger: { lineUsage: noStore },
  lineEvents: { lineEvents: async () => ({ rows: [], next: null }) },
  invoicing: {
    issuer: { name: 'Tokenmeter', address: [], taxId: null, paymentInstructions: null },
    numberPrefix: 'INV-',
    creditNoteNumberPrefix: 'CN-',
    taxes: new Map(),
    adjustmentWindowMs: 35 * 86_400_000
  },
  paymentStore: { find: noStore, findCharged: noStore, list: noStore, record: noStore },
  refundStore: { begin: noStore, settle: noStore, takeUnsettled: noStore },
  paymentAccountStore: { find: noStore, put: noStore, remove: noStore },
  collectStore: { settle: noStore },
  // It signs nothing.
  paymentProvider: {
    name: 'stripe',
    charge: noStore,
    chargeStatus: noStore,
    refund: noStore,
    readWebhook: () => null
  }
} as const satisfies Partial<ApiDependencies>

function dependenciesOf(answers: Answers, told: Told): ApiDependencies {
  return {
    version: '1.2.3',
    quotaMeter: {
      check: async (ask) => noted(told.asks, ask, answers.standing),
      hold: async (ask) => noted(told.asks, ask, answers.holdOutcome),
      extend: async (ask) => noted(told.asks, ask, answers.holdOutcome),
      end: async (ask) => noted(told.asks, ask, answers.holdOutcome),
      find: async () => {
        const outcome = answers.holdOutcome()
        return 'limits' in outcome && 'hold' in outcome ? outcome.hold : null
      }
    },
    limitMeter: {
      balance: async (...ask) => noted(told.asks, ask, answers.standing)
    },
    limitStore: limitStoreOn(told),
    limitRefresh: limitRefreshOn(answers, told),
    effectiveLimits: { grants: async () => [], unraised: async () => [] },
    grantStore: { find: noStore, list: noStore, insert: noStore, revoke: noStore },
    planStore: { find: noStore, list: noStore, insert: noStore, update: noStore },
    subscriptionStore: { find: noStore, list: noStore, insert: noStore, update: noStore, takeDue: noStore },
    ...BILLING,
    customerStore: { find: noStore, list: noStore, insert: noStore, update: noStore },
    userStore: { find: noStore, list: noStore, insert: noStore, update: noStore, erase: noStore },
    usageQueries: {
      usage: async (query) => noted(told.asks, query, () => answers.usage(query)),
      findEvent: async (customerId, source, id) =>
        answers.counted.find(
          (event) => event.customerId === customerId && event.source === source && event.id === id
        ) ?? null
    },
    usageEventLog: {
      append: async (events) => {
        answers.append(events)
        told.appended.push(...events)
      }
    },
    access: {
      configuredKeys: answers.apiKeys,
      tokens: null,
      cacheMs: 5_000,
      keyEnvironment: 'test',
      requestsPerMinute: 0,
      trustedProxies: []
    },
    apiKeyStore: { use: noStore, find: noStore, list: noStore, insert: noStore, update: noStore },
    auditSearch: { list: noStore },
    auditEraser: { erasePersonal: noStore },
    webhookEndpointStore: { find: noStore, list: noStore, insert: noStore, update: noStore },
    webhookDeliveryLog: { find: noStore, list: noStore, redeliver: noStore },
    // A name server that knows each name, and answers the same public address.
    webhookUrls: { allowPrivate: false, resolveHost: async () => ['198.41.0.4'] },
    seenUsers: new SeenUsers(),
    idempotencyStore: { find: noStore, forget: noStore },
    decodeLimits: DEFAULT_DECODE_LIMITS,
    now: () => NOW,
    logger: Fastify({ logger: { level: 'silent' } }).log,
    readiness: async () => ({ ready: answers.ready, checks: [{ name: 'redis', ready: answers.ready }] }),
    metrics: async () => ({ contentType: 'text/plain; version=0.0.4', text: 'up 1\n' }),
    observer: {
      arrived: () => undefined,
      answered: ({ route, status }) => told.answers.push({ route, status }),
      checked: (outcome) => told.outcomes.push(outcome),
      held: (outcome) => told.outcomes.push(outcome)
    },
    corsOrigins: answers.corsOrigins,
    eventLoopDelayMaxMs: 0
  }
}

/** Composes nothing: what was put is what is in force. */
function limitRefreshOn({ setLimits }: Answers, told: Told): ApiDependencies['limitRefresh'] {
  return limitRefresh({
    effectiveLimits: {
      reckon: async (customerId) => {
        const effective = told.limits.get(customerId)
        return effective === undefined ? null : { effective, nextAt: null }
      }
    },
    limitMeter: {
      setLimits: async (limits) => {
        setLimits(limits)
        told.compiled.push(limits)
      }
    },
    limitStore: limitStoreOn(told),
    now: () => NOW
  })
}

function limitStoreOn({ limits, renewals }: Told): ApiDependencies['limitStore'] {
  return {
    find: async (customerId) => limits.get(customerId) ?? null,
    put: async (given, expectedVersion) => {
      const version = limits.get(given.customerId)?.version ?? 0
      if (expectedVersion !== null && expectedVersion !== version) return null
      const stored = { ...given, version: version + 1 }
      limits.set(given.customerId, stored)
      return stored
    },
    takeDue: async () => [],
    setRenewal: async (...renewal) => {
      renewals.push(renewal)
    }
  }
}

async function noStore(): Promise<never> {
  throw new Error('this test has no store')
}

function noted<T>(asks: unknown[], ask: unknown, answer: () => T): T {
  asks.push(ask)
  return answer()
}
