/**
 * Bedrock Converse. Input excludes the cache; the total holds all four counts. Reasoning is part of the output and not told.
 * Some models report cached tokens inside the input as well: their total then differs from the sum, or the object can't be
 * told from a right one.
 *
 * Sources: docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_TokenUsage.html and CacheDetail there; what excludes
 * what: docs.aws.amazon.com/bedrock/latest/userguide/prompt-caching.html.
 */
import type { FieldReader } from '../field-reader.ts'
import type { TokenPools } from '../token-pools.ts'
import { checkSum, hasAny, type UsageDialect } from './dialect.ts'

/** Older spellings that some answers still carry beside the documented ones. */
const OLDER: Readonly<Record<string, string>> = {
  cacheReadInputTokens: 'cacheReadInputTokenCount',
  cacheWriteInputTokens: 'cacheWriteInputTokenCount'
}

export const BEDROCK_CONVERSE: UsageDialect = {
  name: 'Bedrock Converse',
  known: new Set([
    'inputTokens',
    'outputTokens',
    'totalTokens',
    'cacheDetails',
    ...Object.keys(OLDER),
    ...Object.values(OLDER)
  ]),
  fits: (usage) => hasAny(usage, ['inputTokens']) && !hasAny(usage, ['input_tokens']),
  read
}

function read(usage: FieldReader): TokenPools {
  const input = usage.count('inputTokens')
  const output = usage.count('outputTokens')
  const cacheRead = eitherSpelling(usage, 'cacheReadInputTokens')
  const cacheWrite = eitherSpelling(usage, 'cacheWriteInputTokens')
  checkSum(usage, ['totalTokens', usage.count('totalTokens')], [input, cacheRead, cacheWrite, output])
  const writes = usage.objects('cacheDetails')
  if (writes.length > 0) {
    const parts = writes.map((write) => write.countOrZero('inputTokens'))
    checkSum(usage, ['cacheWriteInputTokens', cacheWrite], parts)
  }
  return { input, cacheRead, cacheWrite, output, reasoning: 0 }
}

function eitherSpelling(usage: FieldReader, key: string): number {
  const older = OLDER[key]
  if (older === undefined || !usage.has(older)) return usage.countOrZero(key)
  const value = usage.count(older)
  if (usage.has(key) && usage.count(key) !== value) {
    usage.reject(older, `is ${value}, but ${key} is ${usage.count(key)}`, 'usage-does-not-add-up')
  }
  return value
}
