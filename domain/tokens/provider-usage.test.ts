import fc from 'fast-check'
import t from 'tap'
import { poolsFromProviderUsage } from './provider-usage.ts'
import { type TokenPools, totalTokens } from './token-pools.ts'

const seed = Number(process.env.SEED ?? Date.now() % 2 ** 31)
t.comment(`SEED=${seed}`)

function pools(change: Partial<TokenPools>): TokenPools {
  return { input: 0, cacheRead: 0, cacheWrite: 0, output: 0, reasoning: 0, ...change }
}

function rejectionOf(provider: string, usage: unknown): string {
  const read = poolsFromProviderUsage(provider, usage)
  return 'rejection' in read ? `${read.rejection.code} ${read.rejection.field}` : 'accepted'
}

const CHAT = {
  prompt_tokens: 2006,
  completion_tokens: 300,
  total_tokens: 2306,
  prompt_tokens_details: { cached_tokens: 1920, audio_tokens: 0 },
  completion_tokens_details: { reasoning_tokens: 128, accepted_prediction_tokens: 0, rejected_prediction_tokens: 12 }
}
const RESPONSES = {
  input_tokens: 2600,
  input_tokens_details: { cached_tokens: 2000, cache_write_tokens: 400 },
  output_tokens: 300,
  output_tokens_details: { reasoning_tokens: 100 },
  total_tokens: 2900
}
const MESSAGES = {
  input_tokens: 2095,
  cache_creation_input_tokens: 2051,
  cache_read_input_tokens: 4102,
  cache_creation: { ephemeral_5m_input_tokens: 2000, ephemeral_1h_input_tokens: 51 },
  output_tokens: 503,
  output_tokens_details: { thinking_tokens: 3 },
  server_tool_use: { web_search_requests: 2 },
  service_tier: 'standard'
}
const GEMINI = {
  promptTokenCount: 100,
  cachedContentTokenCount: 40,
  toolUsePromptTokenCount: 7,
  candidatesTokenCount: 20,
  thoughtsTokenCount: 30,
  totalTokenCount: 157,
  promptTokensDetails: [{ modality: 'TEXT', tokenCount: 100 }],
  trafficType: 'ON_DEMAND'
}
const CONVERSE = {
  inputTokens: 10,
  outputTokens: 20,
  totalTokens: 430,
  cacheReadInputTokens: 300,
  cacheWriteInputTokens: 100,
  cacheDetails: [{ ttl: '1h', inputTokens: 100 }]
}
const OTEL = {
  'gen_ai.usage.input_tokens': 100,
  'gen_ai.usage.output_tokens': 50,
  'gen_ai.usage.cache_read.input_tokens': 60,
  'gen_ai.usage.cache_creation.input_tokens': 30,
  'gen_ai.usage.reasoning.output_tokens': 20
}

t.test('each dialect is read into exclusive pools that keep what the provider counted', async (t) => {
  const cases: readonly [string, string, unknown, TokenPools][] = [
    ['OpenAI chat', 'openai', CHAT, pools({ input: 86, cacheRead: 1920, output: 172, reasoning: 128 })],
    [
      'OpenAI chat by Azure',
      'Azure.AI.OpenAI',
      CHAT,
      pools({ input: 86, cacheRead: 1920, output: 172, reasoning: 128 })
    ],
    ['OpenAI embeddings', 'openai', { prompt_tokens: 8, total_tokens: 8 }, pools({ input: 8 })],
    [
      'OpenAI responses',
      'openai',
      RESPONSES,
      pools({ input: 200, cacheRead: 2000, cacheWrite: 400, output: 200, reasoning: 100 })
    ],
    [
      'Anthropic messages',
      'anthropic',
      MESSAGES,
      pools({ input: 2095, cacheRead: 4102, cacheWrite: 2051, output: 500, reasoning: 3 })
    ],
    [
      'Anthropic messages without a cache',
      'aws.bedrock',
      { input_tokens: 5, output_tokens: 6, cache_creation_input_tokens: null, cache_creation: null },
      pools({ input: 5, output: 6 })
    ],
    ['Gemini', 'gemini', GEMINI, pools({ input: 67, cacheRead: 40, output: 20, reasoning: 30 })],
    [
      'Gemini live',
      'gcp.vertex_ai',
      { promptTokenCount: 3, responseTokenCount: 4, totalTokenCount: 7 },
      pools({ input: 3, output: 4 })
    ],
    ['Bedrock Converse', 'bedrock', CONVERSE, pools({ input: 10, cacheRead: 300, cacheWrite: 100, output: 20 })],
    ['OpenTelemetry', 'otel', OTEL, pools({ input: 10, cacheRead: 60, cacheWrite: 30, output: 30, reasoning: 20 })],
    [
      'OpenTelemetry of a provider',
      'anthropic',
      OTEL,
      pools({ input: 10, cacheRead: 60, cacheWrite: 30, output: 30, reasoning: 20 })
    ]
  ]
  for (const [name, provider, usage, tokens] of cases) t.same(poolsFromProviderUsage(provider, usage), { tokens }, name)
})

t.test('an object that does not add up is rejected with the field that is wrong', async (t) => {
  const cases: readonly [string, unknown, string][] = [
    ['openai', { ...CHAT, total_tokens: 2307 }, 'total_tokens'],
    ['openai', { ...CHAT, prompt_tokens_details: { cached_tokens: 2007 } }, 'prompt_tokens_details.cached_tokens'],
    [
      'openai',
      { ...CHAT, completion_tokens_details: { reasoning_tokens: 301 } },
      'completion_tokens_details.reasoning_tokens'
    ],
    [
      'openai',
      { ...RESPONSES, input_tokens_details: { cached_tokens: 2000, cache_write_tokens: 601 } },
      'input_tokens_details.cached_tokens'
    ],
    ['anthropic', { ...MESSAGES, cache_creation_input_tokens: 2050 }, 'cache_creation_input_tokens'],
    [
      'anthropic',
      { ...MESSAGES, output_tokens_details: { thinking_tokens: 504 } },
      'output_tokens_details.thinking_tokens'
    ],
    [
      'anthropic',
      { input_tokens: 1, output_tokens: 1, iterations: [{ input_tokens: 9, output_tokens: 1 }] },
      'input_tokens'
    ],
    ['gemini', { ...GEMINI, totalTokenCount: 127 }, 'totalTokenCount'],
    ['gemini', { promptTokenCount: 1, cachedContentTokenCount: 2, totalTokenCount: 1 }, 'cachedContentTokenCount'],
    ['bedrock', { ...CONVERSE, totalTokens: 30 }, 'totalTokens'],
    ['bedrock', { ...CONVERSE, cacheDetails: [{ inputTokens: 99 }] }, 'cacheWriteInputTokens'],
    ['bedrock', { ...CONVERSE, cacheReadInputTokenCount: 301 }, 'cacheReadInputTokenCount'],
    ['otel', { ...OTEL, 'gen_ai.usage.cache_creation.input_tokens': 41 }, 'gen_ai.usage.cache_creation.input_tokens'],
    ['otel', { ...OTEL, 'gen_ai.usage.reasoning.output_tokens': 51 }, 'gen_ai.usage.reasoning.output_tokens']
  ]
  for (const [provider, usage, field] of cases) {
    t.equal(rejectionOf(provider, usage), `usage-does-not-add-up data.usage.${field}`)
  }
})

t.test('what could be read in two ways, or says more than is understood, is refused and not guessed', async (t) => {
  const cases: readonly [string, unknown, string][] = [
    ['nobody', CHAT, 'invalid-data data.provider'],
    ['openai', MESSAGES, 'invalid-data data.usage'],
    ['anthropic', CHAT, 'invalid-data data.usage'],
    ['anthropic', RESPONSES, 'invalid-data data.usage'],
    ['openai', { ...CHAT, ...RESPONSES }, 'invalid-data data.usage'],
    ['openai', { ...CHAT, ...OTEL }, 'invalid-data data.usage'],
    ['openai', { ...CHAT, video_tokens: 5 }, 'invalid-data data.usage.video_tokens'],
    [
      'openai',
      { ...CHAT, prompt_tokens_details: { video_tokens: 5 } },
      'invalid-data data.usage.prompt_tokens_details.video_tokens'
    ],
    [
      'openai',
      { ...RESPONSES, input_token_details: { cached_tokens: 5 } },
      'invalid-data data.usage.input_token_details'
    ],
    ['anthropic', { ...MESSAGES, cache_creation: { forever: 2051 } }, 'invalid-data data.usage.cache_creation.forever'],
    ['gemini', { ...GEMINI, responseTokenCount: 20 }, 'invalid-data data.usage.responseTokenCount'],
    ['otel', { ...OTEL, 'gen_ai.usage.prompt_tokens': 4 }, 'invalid-data data.usage.gen_ai.usage.prompt_tokens'],
    ['openai', [], 'invalid-data data.usage'],
    ['openai', null, 'invalid-data data.usage']
  ]
  for (const [provider, usage, rejection] of cases) t.equal(rejectionOf(provider, usage), rejection)
  t.equal(rejectionOf('openai', { ...CHAT, video_tokens: 0, cost: 0.5, service_tier: 'flex' }), 'accepted')
})

t.test('a count that is no integer in [0, 2^53) is refused with its field', async (t) => {
  for (const bad of [-1, 1.5, Number.POSITIVE_INFINITY, Number.NaN, 2 ** 53, '7', true, {}]) {
    t.equal(rejectionOf('gemini', { ...GEMINI, promptTokenCount: bad }), 'invalid-data data.usage.promptTokenCount')
  }
  const half = 2 ** 52
  const huge = { inputTokens: half, outputTokens: half, totalTokens: half }
  t.equal(rejectionOf('bedrock', huge), 'usage-does-not-add-up data.usage.totalTokens')
  const large = { input_tokens: half, output_tokens: half }
  t.equal(rejectionOf('anthropic', large), 'invalid-data data.usage', 'pools that sum to 2^53')
})

t.test('whatever pools a provider counts come back, whichever dialect it reports them in', async (t) => {
  const count = fc.oneof(fc.nat(10_000), fc.nat(2 ** 31 - 1), fc.constant(0))
  const any = fc.record({ input: count, cacheRead: count, cacheWrite: count, output: count, reasoning: count })
  fc.assert(
    fc.property(any, (tokens) => {
      const { input, cacheRead, cacheWrite, output, reasoning } = tokens
      const total = totalTokens(tokens)
      const withCache = input + cacheRead + cacheWrite
      t.same(
        poolsFromProviderUsage('openai', {
          prompt_tokens: withCache,
          completion_tokens: output + reasoning,
          total_tokens: total,
          prompt_tokens_details: { cached_tokens: cacheRead, cache_write_tokens: cacheWrite },
          completion_tokens_details: { reasoning_tokens: reasoning }
        }),
        { tokens }
      )
      t.same(
        poolsFromProviderUsage('anthropic', {
          input_tokens: input,
          cache_read_input_tokens: cacheRead,
          cache_creation_input_tokens: cacheWrite,
          output_tokens: output + reasoning,
          output_tokens_details: { thinking_tokens: reasoning }
        }),
        { tokens }
      )
      t.same(
        poolsFromProviderUsage('vertex', {
          promptTokenCount: input + cacheRead,
          cachedContentTokenCount: cacheRead,
          candidatesTokenCount: output,
          thoughtsTokenCount: reasoning,
          totalTokenCount: total - cacheWrite
        }),
        { tokens: { ...tokens, cacheWrite: 0 } }
      )
      t.same(
        poolsFromProviderUsage('otel', {
          'gen_ai.usage.input_tokens': withCache,
          'gen_ai.usage.output_tokens': output + reasoning,
          'gen_ai.usage.cache_read.input_tokens': cacheRead,
          'gen_ai.usage.cache_creation.input_tokens': cacheWrite,
          'gen_ai.usage.reasoning.output_tokens': reasoning
        }),
        { tokens }
      )
    }),
    { seed, numRuns: 50 }
  )
})

t.test('an accepted object loses and gains no token against the total it states', async (t) => {
  const count = fc.oneof(fc.nat(6), fc.nat(2 ** 30))
  const details = fc.record({ cached_tokens: count, cache_write_tokens: count }, { requiredKeys: [] })
  const usage = fc.record({
    prompt_tokens: count,
    completion_tokens: count,
    total_tokens: count,
    prompt_tokens_details: details
  })
  let accepted = 0
  fc.assert(
    fc.property(usage, fc.boolean(), (object, honest) => {
      const total = honest ? object.prompt_tokens + object.completion_tokens : object.total_tokens
      const read = poolsFromProviderUsage('openai', { ...object, total_tokens: total })
      if ('rejection' in read) return
      accepted += 1
      if (totalTokens(read.tokens) !== total) throw new Error(`${totalTokens(read.tokens)} of ${total}`)
      if (Object.values(read.tokens).some((tokens) => tokens < 0)) throw new Error('a pool is negative')
    }),
    { seed, numRuns: 1_000 }
  )
  t.ok(accepted > 50, `${accepted} were accepted`)
})
