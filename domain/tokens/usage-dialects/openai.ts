/**
 * OpenAI and Azure OpenAI. Input counts hold what was read from and written to the cache, output counts hold reasoning, and
 * rejected predictions are billed as output.
 *
 * Sources: `CompletionUsage` and `ResponseUsage` in openai/openai-node (src/resources/completions.ts, responses/responses.ts);
 * `cached_tokens` and `cache_write_tokens` as slices of the input: developers.openai.com/api/docs/guides/prompt-caching.
 */
import type { FieldReader } from '../field-reader.ts'
import type { TokenPools } from '../token-pools.ts'
import { checkSum, hasAny, remainder, saysMoreTokens, type UsageDialect } from './dialect.ts'

/** How one of OpenAI's two interfaces names the same counts. */
interface Names {
  readonly input: string
  readonly inputDetails: string
  readonly output: string
  readonly outputDetails: string
}

const CHAT: Names = {
  input: 'prompt_tokens',
  inputDetails: 'prompt_tokens_details',
  output: 'completion_tokens',
  outputDetails: 'completion_tokens_details'
}

const RESPONSES: Names = {
  input: 'input_tokens',
  inputDetails: 'input_tokens_details',
  output: 'output_tokens',
  outputDetails: 'output_tokens_details'
}

/** Slices of the input or output by kind of content: each is billed within its pool. */
const CONTENT_KINDS = ['audio_tokens', 'image_tokens', 'text_tokens'] as const
const PREDICTIONS = ['accepted_prediction_tokens', 'rejected_prediction_tokens'] as const

/** Chat completions, and embeddings, which have no output. */
export const OPENAI_CHAT: UsageDialect = {
  name: 'OpenAI chat completions',
  known: new Set([...Object.values(CHAT), 'total_tokens']),
  fits: (usage) => hasAny(usage, [CHAT.input]) && !hasAny(usage, Object.values(RESPONSES)),
  read: (usage) => read(usage, CHAT)
}

/** Responses. Without `total_tokens` the same names are Anthropic's, with another meaning. */
export const OPENAI_RESPONSES: UsageDialect = {
  name: 'OpenAI responses',
  known: new Set([...Object.values(RESPONSES), 'total_tokens']),
  fits: (usage) =>
    hasAny(usage, [RESPONSES.input]) && hasAny(usage, ['total_tokens']) && !hasAny(usage, Object.values(CHAT)),
  read: (usage) => read(usage, RESPONSES)
}

function read(usage: FieldReader, names: Names): TokenPools {
  const input = usage.count(names.input)
  const output = names === CHAT ? usage.countOrZero(names.output) : usage.count(names.output)
  checkSum(usage, ['total_tokens', usage.count('total_tokens')], [input, output])
  const inputParts = usage.optionalObject(names.inputDetails)
  const outputParts = usage.optionalObject(names.outputDetails)
  const cacheRead = inputParts?.countOrZero('cached_tokens') ?? 0
  const cacheWrite = inputParts?.countOrZero('cache_write_tokens') ?? 0
  const reasoning = outputParts?.countOrZero('reasoning_tokens') ?? 0
  if (inputParts)
    checkSlices(inputParts, [names.input, input], ['cached_tokens', 'cache_write_tokens', ...CONTENT_KINDS])
  if (outputParts)
    checkSlices(outputParts, [names.output, output], ['reasoning_tokens', ...PREDICTIONS, ...CONTENT_KINDS])
  return {
    input: remainder(usage, [names.input, input], [`${names.inputDetails}.cached_tokens`, cacheRead + cacheWrite]),
    cacheRead,
    cacheWrite,
    output: remainder(usage, [names.output, output], [`${names.outputDetails}.reasoning_tokens`, reasoning]),
    reasoning
  }
}

/** Slices may overlap (cached audio), so each alone must fit into what it is a slice of; an unknown one is refused. */
function checkSlices(details: FieldReader, whole: readonly [string, number], known: readonly string[]): void {
  for (const key of details.keys()) {
    if (known.includes(key)) remainder(details, whole, [key, details.countOrZero(key)])
    else if (saysMoreTokens(key, details.value(key)) && !key.endsWith('_details')) {
      details.reject(key, 'is unknown in OpenAI usage and may count tokens')
    }
  }
}
