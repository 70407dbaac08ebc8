/**
 * The demo's traffic: each call becomes a usage event of some customer, user and model, told in the words of its provider;
 * repeats, contradictions, late and broken records are mixed in. It keeps its own account of what must be counted, apart from
 * everything under test.
 */
import type { Call } from './calls.ts'
import type { DemoCustomer } from './customers.ts'
import type { Random } from './random.ts'

/** A CloudEvent, and how it is to reach the meter. */
export interface DemoRecord {
  readonly way: 'structured' | 'binary' | 'http'
  readonly customer: DemoCustomer
  readonly envelope: Readonly<Record<string, unknown>>
  /** What it is billed as. */
  readonly tokens: DemoTokens
}

/** Tokens by the pools that the demo's plans have prices for. */
export interface DemoTokens {
  readonly input: number
  readonly cacheRead: number
  readonly output: number
  readonly reasoning: number
}

/** Bytes that are no usage event, straight to the topic. */
export interface PoisonRecord {
  readonly way: 'poison'
  readonly customer: DemoCustomer
  readonly reason: string
  readonly value: Buffer
}

/** What must come out, by the demo's own account. */
export interface Account {
  sent: number
  accepted: number
  duplicates: number
  conflicts: number
  late: number
  lateTokens: number
  contextTokens: number
  generatedTokens: number
  rejected: Record<string, number>
  readonly byModel: Map<string, number>
  readonly byCustomer: Map<string, number>
  /** Tokens of each customer in its billing period. */
  readonly byPeriod: Map<string, number>
  /** The same by pool. */
  readonly billable: Map<string, DemoTokens>
}

export const MODELS = [
  'gpt-5.1',
  'gpt-5.1-mini',
  'claude-opus-4-5',
  'claude-haiku-4-5',
  'gemini-3-pro',
  'nova-2-lite'
] as const
const HOUR_MS = 3_600_000
const DAY_MS = 24 * HOUR_MS
const DUPLICATE_SHARE = 0.02
const CONFLICT_EVERY = 1_000
const LATE_EVERY = 800
const POISON_EVERY = 700

export function newAccount(): Account {
  return {
    sent: 0,
    accepted: 0,
    duplicates: 0,
    conflicts: 0,
    late: 0,
    lateTokens: 0,
    contextTokens: 0,
    generatedTokens: 0,
    rejected: {},
    byModel: new Map(),
    byCustomer: new Map(),
    byPeriod: new Map(),
    billable: new Map()
  }
}

export interface DemoTraffic {
  readonly calls: Iterable<Call> | AsyncIterable<Call>
  readonly customers: readonly DemoCustomer[]
  readonly random: Random
}

/** Every record to send, in order. */
export async function* demoRecords(
  { calls, customers, random }: DemoTraffic,
  account: Account
): AsyncGenerator<DemoRecord | PoisonRecord> {
  let index = 0
  for await (const call of calls) {
    index++
    const isContradicted = index % CONFLICT_EVERY === 0
    const made = eventOf(call, `call-${index}`, { customers, random })
    // On the way that the contradiction takes after it, so that the true one is first.
    const record: DemoRecord = isContradicted ? { ...made, way: 'structured' } : made
    count(account, record, call)
    yield sent(account, record)
    if (random.next() < DUPLICATE_SHARE) {
      account.duplicates++
      yield sent(account, { ...record, way: wayOf(random) })
    }
    if (isContradicted) {
      account.conflicts++
      yield sent(account, contradictionOf(record))
    }
    if (index % LATE_EVERY === 0) {
      const late = {
        occurredAt: call.occurredAt - 2 * HOUR_MS - random.below(18 * HOUR_MS),
        contextTokens: 100,
        generatedTokens: 10
      }
      const lateRecord = eventOf(late, `late-${index}`, { customers, random })
      account.late++
      account.lateTokens += 110
      countTokens(account, lateRecord, { occurredAt: late.occurredAt, tokens: 110 })
      yield sent(account, lateRecord)
    }
    if (index % POISON_EVERY === 0) {
      const poison = poisonOf(index / POISON_EVERY, call.occurredAt, { customers, random })
      account.rejected[poison.reason] = (account.rejected[poison.reason] ?? 0) + 1
      account.sent++
      yield poison
    }
  }
}

function sent(account: Account, record: DemoRecord): DemoRecord {
  account.sent++
  return record
}

function count(account: Account, record: DemoRecord, call: Call): void {
  account.contextTokens += call.contextTokens
  account.generatedTokens += call.generatedTokens
  const { occurredAt, contextTokens, generatedTokens } = call
  countTokens(account, record, { occurredAt, tokens: contextTokens + generatedTokens })
}

function countTokens(
  account: Account,
  { customer, envelope, tokens: pools }: DemoRecord,
  { occurredAt, tokens }: { readonly occurredAt: number; readonly tokens: number }
): void {
  account.accepted++
  addTo(account.byCustomer, customer.id, tokens)
  addTo(account.byModel, modelOf(envelope), tokens)
  if (customer.periodStart === null || occurredAt < customer.periodStart) return
  addTo(account.byPeriod, customer.id, tokens)
  const { input = 0, cacheRead = 0, output = 0, reasoning = 0 } = account.billable.get(customer.id) ?? {}
  account.billable.set(customer.id, {
    input: input + pools.input,
    cacheRead: cacheRead + pools.cacheRead,
    output: output + pools.output,
    reasoning: reasoning + pools.reasoning
  })
}

function addTo(sums: Map<string, number>, name: string, tokens: number): void {
  sums.set(name, (sums.get(name) ?? 0) + tokens)
}

function modelOf(envelope: DemoRecord['envelope']): string {
  const { data } = envelope
  return typeof data === 'object' && data !== null && 'model' in data ? String(data.model) : ''
}

function wayOf(random: Random): DemoRecord['way'] {
  const dice = random.next()
  if (dice < 0.6) return 'structured'
  return dice < 0.9 ? 'binary' : 'http'
}

/** Users that a customer seems to have: those it really has come first. */
const USERS_EACH = 25

function eventOf(call: Call, id: string, { customers, random }: Pick<DemoTraffic, 'customers' | 'random'>): DemoRecord {
  const customer = pick(customers, random)
  const model = MODELS[random.skewed(MODELS.length)] ?? MODELS[0]
  const way = wayOf(random)
  const user = random.skewed(USERS_EACH)
  const tokens = tokensOf(model, call, random)
  return {
    way,
    customer,
    tokens,
    envelope: {
      specversion: '1.0',
      id,
      source: 'demo/ia-service',
      type: 'ai.tokens.used',
      subject: customer.id,
      time: new Date(call.occurredAt).toISOString(),
      datacontenttype: 'application/json',
      data: { userId: customer.userIds[user] ?? `user-${user + 1}`, model, ...usageOf(model, tokens) }
    }
  }
}

function pick(customers: readonly DemoCustomer[], random: Random): DemoCustomer {
  const customer = customers[random.skewed(customers.length)]
  if (customer === undefined) throw new Error('the demo has no customers')
  return customer
}

/** Some of the context was read from a cache; some of the answer is thought, which one of the providers does not tell apart. */
function tokensOf(model: string, { contextTokens, generatedTokens }: Call, random: Random): DemoTokens {
  const cacheRead = random.next() < 0.3 ? random.below(contextTokens + 1) : 0
  const thought = random.next() < 0.2 ? random.below(generatedTokens + 1) : 0
  const reasoning = model.startsWith('claude') ? 0 : thought
  return { input: contextTokens - cacheRead, cacheRead, output: generatedTokens - reasoning, reasoning }
}

/** What the model's provider would say of the call. */
function usageOf(model: string, tokens: DemoTokens): { provider: string; usage?: object; tokens?: object } {
  const { input, cacheRead, output, reasoning } = tokens
  if (model.startsWith('gpt')) {
    return {
      provider: 'openai',
      usage: {
        prompt_tokens: input + cacheRead,
        completion_tokens: output + reasoning,
        total_tokens: input + cacheRead + output + reasoning,
        prompt_tokens_details: { cached_tokens: cacheRead },
        completion_tokens_details: { reasoning_tokens: reasoning }
      }
    }
  }
  if (model.startsWith('claude')) {
    return {
      provider: 'anthropic',
      usage: {
        input_tokens: input,
        cache_read_input_tokens: cacheRead,
        cache_creation_input_tokens: 0,
        output_tokens: output
      }
    }
  }
  if (model.startsWith('gemini')) {
    return {
      provider: 'google',
      usage: {
        promptTokenCount: input + cacheRead,
        cachedContentTokenCount: cacheRead,
        candidatesTokenCount: output,
        thoughtsTokenCount: reasoning,
        totalTokenCount: input + cacheRead + output + reasoning
      }
    }
  }
  return { provider: 'aws', tokens: { ...tokens } }
}

/** The same identity with other numbers. */
function contradictionOf(record: DemoRecord): DemoRecord {
  const { data } = record.envelope
  const before = typeof data === 'object' && data !== null ? data : {}
  const { userId, model } = { userId: '', model: '', ...before }
  return {
    ...record,
    way: 'structured',
    envelope: { ...record.envelope, data: { userId, model, provider: 'demo', tokens: { input: 987_654_321 } } }
  }
}

function poisonOf(
  turn: number,
  now: number,
  { customers, random }: Pick<DemoTraffic, 'customers' | 'random'>
): PoisonRecord {
  const customer = pick(customers, random)
  const event = (data: string, time = now): string =>
    `{"specversion":"1.0","id":"poison-${turn}","source":"demo/ia-service","type":"ai.tokens.used","subject":"${customer.id}","time":"${new Date(time).toISOString()}","data":${data}}`
  const kinds: readonly (readonly [reason: string, text: string])[] = [
    ['invalid-data', event('{"model":"m","provider":"demo","tokens":{"input":-1}}')],
    ['invalid-data', event('{"model":"m","provider":"demo","tokens":{"input":1.5}}')],
    ['not-json', '{"specversion":"1.0",'],
    ['too-late', event('{"model":"m","provider":"demo","tokens":{"input":1}}', now - 2 * DAY_MS)],
    ['too-early', event('{"model":"m","provider":"demo","tokens":{"input":1}}', Date.now() + HOUR_MS)],
    [
      'usage-does-not-add-up',
      event('{"model":"m","provider":"openai","usage":{"prompt_tokens":5,"completion_tokens":5,"total_tokens":11}}')
    ],
    ['forbidden-key', event('{"model":"m","provider":"demo","tokens":{"__proto__":1}}')]
  ]
  const [reason, text] = kinds[turn % kinds.length] ?? ['not-json', '']
  return { way: 'poison', customer, reason, value: Buffer.from(text) }
}
