/**
 * OpenTelemetry's `gen_ai.usage.*` span attributes. Input holds what was read from and written to the cache, output holds
 * reasoning, whatever the provider's own object does.
 *
 * Source: the gen_ai attribute registry, opentelemetry.io/docs/specs/semconv/registry/attributes/gen-ai ("the value SHOULD be
 * included in gen_ai.usage.input_tokens", and for reasoning in output_tokens). The deprecated `prompt_tokens` and
 * `completion_tokens` never said what they hold and are refused.
 */
import type { FieldReader } from '../field-reader.ts'
import type { TokenPools } from '../token-pools.ts'
import { hasAny, remainder, type UsageDialect } from './dialect.ts'

const INPUT = 'gen_ai.usage.input_tokens'
const OUTPUT = 'gen_ai.usage.output_tokens'
const CACHE_READ = 'gen_ai.usage.cache_read.input_tokens'
const CACHE_WRITE = 'gen_ai.usage.cache_creation.input_tokens'
const REASONING = 'gen_ai.usage.reasoning.output_tokens'

export const OTEL: UsageDialect = {
  name: 'OpenTelemetry gen_ai.usage',
  known: new Set([INPUT, OUTPUT, CACHE_READ, CACHE_WRITE, REASONING]),
  fits: (usage) => hasAny(usage, [INPUT]),
  read
}

function read(usage: FieldReader): TokenPools {
  const input = usage.count(INPUT)
  const output = usage.count(OUTPUT)
  const cacheRead = usage.countOrZero(CACHE_READ)
  const cacheWrite = usage.countOrZero(CACHE_WRITE)
  const reasoning = usage.countOrZero(REASONING)
  const uncached = remainder(usage, [INPUT, input], [CACHE_READ, cacheRead])
  return {
    input: remainder(usage, [`${INPUT} beside ${CACHE_READ}`, uncached], [CACHE_WRITE, cacheWrite]),
    cacheRead,
    cacheWrite,
    output: remainder(usage, [OUTPUT, output], [REASONING, reasoning]),
    reasoning
  }
}
