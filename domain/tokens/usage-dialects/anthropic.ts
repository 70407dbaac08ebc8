/**
 * Anthropic messages, also as Bedrock and Vertex pass them on. Input excludes the cache: what was read from it and written to
 * it stands beside. Output holds thinking.
 *
 * Sources: `Usage`, `CacheCreation`, `OutputTokensDetails` in anthropics/anthropic-sdk-typescript
 * (src/resources/messages/messages.ts); the sum: platform.claude.com/docs/en/build-with-claude/prompt-caching; `iterations`:
 * platform.claude.com/docs/en/build-with-claude/compaction, where the top level leaves out the compaction's own tokens.
 */
import type { FieldReader } from '../field-reader.ts'
import type { TokenPools } from '../token-pools.ts'
import { checkSum, hasAny, remainder, type UsageDialect } from './dialect.ts'

const FOREIGN = ['total_tokens', 'prompt_tokens', 'completion_tokens', 'input_tokens_details']

/** Counts that the top level and each iteration have alike. */
const REPEATED = ['input_tokens', 'output_tokens', 'cache_creation_input_tokens', 'cache_read_input_tokens'] as const

export const ANTHROPIC_MESSAGES: UsageDialect = {
  name: 'Anthropic messages',
  known: new Set([...REPEATED, 'cache_creation', 'output_tokens_details', 'iterations']),
  fits: (usage) => hasAny(usage, ['input_tokens']) && !hasAny(usage, FOREIGN),
  read
}

function read(usage: FieldReader): TokenPools {
  const output = usage.count('output_tokens')
  const reasoning = usage.optionalObject('output_tokens_details')?.countOrZero('thinking_tokens') ?? 0
  checkIterations(usage)
  return {
    input: usage.count('input_tokens'),
    cacheRead: usage.countOrZero('cache_read_input_tokens'),
    cacheWrite: cacheWriteOf(usage),
    output: remainder(usage, ['output_tokens', output], ['output_tokens_details.thinking_tokens', reasoning]),
    reasoning
  }
}

/** Written to the cache, in one number or by how long it is kept; both must agree when both are there. */
function cacheWriteOf(usage: FieldReader): number {
  const stated = usage.countOrZero('cache_creation_input_tokens')
  const byLifetime = usage.optionalObject('cache_creation')
  if (byLifetime === null) return stated
  const parts: number[] = []
  for (const key of byLifetime.keys()) {
    if (/^ephemeral_\w+_input_tokens$/.test(key)) parts.push(byLifetime.countOrZero(key))
    else byLifetime.reject(key, 'is unknown in Anthropic cache_creation and may count tokens')
  }
  checkSum(usage, ['cache_creation_input_tokens', stated], parts)
  return stated
}

/** A compaction or an advisor samples once more, maybe another model, and only its iteration tells: not one event's tokens. */
function checkIterations(usage: FieldReader): void {
  const iterations = usage.objects('iterations')
  if (iterations.length === 0) return
  for (const key of REPEATED) {
    const parts = iterations.map((iteration) => iteration.countOrZero(key))
    checkSum(usage, [key, usage.countOrZero(key)], parts)
  }
}
