/**
 * A thousand callers at once, over three API processes, ask for twice what a hard limit has: how much of it do they get? With holds,
 * each call reserves what it may use, and its usage event, written straight to the topic, turns the hold into usage. Without them, a
 * call is checked, goes ahead, and tells what it used when it is over: what others do meanwhile is not in the answer.
 */

import { setImmediate as nextTurn } from 'node:timers/promises'
import { NO_TOKENS } from '../../domain/tokens/token-pools.ts'
import type { UsageEvent } from '../../domain/tokens/usage-event.ts'
import { encodeUsageEvent } from '../../ingest/encode-usage-event.ts'
import { KafkaUsageEventLog } from '../../ingest/usage-producer.ts'
import { limit } from '../../stack/demo/limits.ts'
import { Random } from '../../stack/demo/random.ts'
import { cpuMicros } from '../harness/cpu-time.ts'
import type { Bench, OpenScenario, Reading, Scenario, Side } from '../harness/scenario.ts'
import { benchKafka } from '../harness/usage-topic.ts'
import { type ApiInstallation, awaitUsed, putLimits, startApis } from '../http/api-installation.ts'
import { type HttpAnswer, RequestPool } from '../http/request-pool.ts'

const SEED = 20_261_128
const APIS = 3
const CALLERS = 1_000
/** One after the other, by each caller. */
const CALLS_EACH = 4
const QUICK_CALLS_EACH = 2
/** Of one call; all of them are used in the end. Small beside the limit: what is left over of it when the last call is refused is below a percent. */
const TOKENS_MIN = 500
const TOKENS_MAX = 1_500
/** All callers together ask for so many times the limit. */
const ASKED_SHARE = 2
/** No hold expires while calls go on. */
const HOLD_TTL_SECONDS = 600
const MODEL = 'gpt-5.1'
const LIMIT = 'all'

export const admission: Scenario = {
  name: 'admission',
  ratios: [
    {
      id: 'R6',
      title: `admitted ÷ limit, ${CALLERS} callers at once over ${APIS} API processes, with holds (never more than the limit, and no less)`,
      goal: { atLeast: 0.99, atMost: 1 },
      of: (round) => round.figure('holds', 'admittedShare')
    }
  ],
  open: openAdmission
}

async function openAdmission(bench: Bench): Promise<OpenScenario> {
  await using opened = new AsyncDisposableStack()
  const sides = await openSides(bench, opened)
  const kept = opened.move()
  return { sides, close: () => kept.disposeAsync() }
}

async function openSides(bench: Bench, opened: AsyncDisposableStack): Promise<readonly Side[]> {
  bench.progress(`admission: starting ${APIS} API processes`)
  const apis = await startApis(bench, APIS)
  opened.defer(() => apis.close())
  const log = await KafkaUsageEventLog.connect({
    kafka: benchKafka(bench.urls.KAFKA_BROKERS),
    topic: apis.installation.usageTopic,
    encode: encodeUsageEvent
  })
  opened.defer(() => log.close())
  // Every caller has a connection of its own, as if it were a process.
  const pool = new RequestPool({ targets: apis.urls, connections: Math.ceil(CALLERS / APIS), pipelining: 1 })
  opened.defer(() => pool.close())
  const callsEach = bench.isQuick ? QUICK_CALLS_EACH : CALLS_EACH
  const admit = (how: Admission['how']) => (round: number) => {
    return admitted({ how, customerId: `crowd-${how}-${round}`, callsEach, apis, log, pool })
  }
  return [
    { name: 'holds', run: admit('holds') },
    { name: 'checks', run: admit('checks') }
  ]
}

interface Admission {
  readonly how: 'holds' | 'checks'
  /** Of this round alone. */
  readonly customerId: string
  readonly callsEach: number
  readonly apis: ApiInstallation
  readonly log: KafkaUsageEventLog
  readonly pool: RequestPool
}

/** What a call asks for, and then uses. */
interface Call {
  readonly id: string
  readonly customerId: string
  readonly tokens: { readonly input: number; readonly output: number }
}

async function admitted(of: Admission): Promise<Reading> {
  const { how, customerId, callsEach, apis, pool } = of
  const { calls, max } = makeCalls(customerId, callsEach)
  await putLimits(apis.api, [customerId], [limit(LIMIT, { max, window: { kind: 'rolling', hours: 24 } })])
  await awaitUsed(apis.api, customerId, { limit: LIMIT, used: 0 })
  const ask = how === 'holds' ? hold : check
  const tally = { admitted: 0, refused: 0, unknown: 0, tokens: 0 }
  const cpu = (): number => apis.pids.reduce((sum, pid) => sum + cpuMicros(pid), 0)
  const before = cpu()
  const startedAt = performance.now()
  const caller = async (own: readonly Call[]): Promise<void> => {
    for (const call of own) {
      const answer = await ask(pool, apis.key, call)
      tally[answer]++
      if (answer !== 'admitted') continue
      tally.tokens += call.tokens.input + call.tokens.output
      // The call itself takes no time: the worst case for holds is many at once, and a check errs the more the longer calls take.
      await nextTurn()
      await of.log.append([usageOf(call, how)])
    }
  }
  await Promise.all(calls.map(caller))
  const seconds = (performance.now() - startedAt) / 1_000
  const micros = cpu() - before
  // What the callers were told must be what is counted in the end, with nothing left held.
  await awaitUsed(apis.api, customerId, { limit: LIMIT, used: tally.tokens })
  const asked = CALLERS * callsEach
  return {
    admittedShare: tally.tokens / max,
    admittedCalls: tally.admitted,
    refusedCalls: tally.refused,
    unknownCalls: tally.unknown,
    callsPerSecond: asked / seconds,
    apiMicrosPerCall: micros / asked
  }
}

/** By caller; the limit follows from what they ask for together. */
function makeCalls(
  customerId: string,
  callsEach: number
): { readonly calls: readonly (readonly Call[])[]; readonly max: number } {
  const random = new Random(SEED)
  let asked = 0
  const calls = Array.from({ length: CALLERS }, (_, caller) =>
    Array.from({ length: callsEach }, (_, n): Call => {
      const tokens = TOKENS_MIN + random.below(TOKENS_MAX - TOKENS_MIN + 1)
      asked += tokens
      const output = random.below(tokens)
      return { id: `${customerId}-${caller}-${n}`, customerId, tokens: { input: tokens - output, output } }
    })
  )
  return { calls, max: Math.floor(asked / ASKED_SHARE) }
}

type CallAnswer = 'admitted' | 'refused' | 'unknown'

async function hold(pool: RequestPool, key: string, { id, customerId, tokens }: Call): Promise<CallAnswer> {
  const body = { holdId: id, customerId, model: MODEL, tokens, ttlSeconds: HOLD_TTL_SECONDS }
  const answer = await post(pool, key, { path: '/v1/quota/holds', body })
  if (answer.status === 201) return 'admitted'
  if (answer.status === 429 && codeOf(answer) === 'quota-exceeded') return 'refused'
  return unknownOr(answer)
}

async function check(pool: RequestPool, key: string, { customerId, tokens }: Call): Promise<CallAnswer> {
  const answer = await post(pool, key, { path: '/v1/quota/check', body: { customerId, model: MODEL, tokens } })
  if (answer.status !== 200) return unknownOr(answer)
  const { allowed }: { allowed: boolean } = JSON.parse(textOf(answer))
  return allowed ? 'admitted' : 'refused'
}

function post(pool: RequestPool, key: string, { path, body }: { path: string; body: object }): Promise<HttpAnswer> {
  const headers = { authorization: `Bearer ${key}`, 'content-type': 'application/json' }
  return pool.post({ path, headers, body: JSON.stringify(body) })
}

/** The meter can't know, or the API is too busy: the call does not go ahead. Anything else is a fault of the bench or the product. */
function unknownOr(answer: HttpAnswer): 'unknown' {
  if (answer.status === 503) return 'unknown'
  throw new Error(`a caller was answered ${answer.status}: ${textOf(answer)}`)
}

function codeOf(answer: HttpAnswer): string {
  const { code }: { code: string } = JSON.parse(textOf(answer))
  return code
}

function textOf({ chunks }: HttpAnswer): string {
  return Buffer.concat(chunks).toString()
}

function usageOf({ id, customerId, tokens }: Call, how: Admission['how']): UsageEvent {
  return {
    kind: 'used',
    id,
    source: 'https://ia.example/gateway',
    customerId,
    occurredAt: Date.now(),
    userId: '',
    model: MODEL,
    provider: 'openai',
    operation: 'chat',
    requestId: '',
    holdId: how === 'holds' ? id : '',
    tokens: { ...NO_TOKENS, ...tokens },
    metadata: {}
  }
}
