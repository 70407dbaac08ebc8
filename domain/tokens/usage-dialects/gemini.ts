/**
 * Gemini, by its own API and by Vertex. The prompt holds the cached content; tool-use prompts and thoughts stand beside
 * prompt and candidates. Counts of zero are left out, as protocol buffers do. The live API says response, not candidates.
 *
 * Sources: `UsageMetadata` at ai.google.dev/api/generate-content and `GenerateContentResponseUsageMetadata` in
 * googleapis/js-genai (src/types.ts): the total is prompt + candidates + tool-use prompt + thoughts.
 */
import type { FieldReader } from '../field-reader.ts'
import type { TokenPools } from '../token-pools.ts'
import { checkSum, hasAny, remainder, type UsageDialect } from './dialect.ts'

const COUNTS = [
  'promptTokenCount',
  'cachedContentTokenCount',
  'toolUsePromptTokenCount',
  'candidatesTokenCount',
  'responseTokenCount',
  'thoughtsTokenCount',
  'totalTokenCount'
] as const

/** Lists of the same counts by kind of content. */
const BY_CONTENT = [
  'promptTokensDetails',
  'cacheTokensDetails',
  'candidatesTokensDetails',
  'responseTokensDetails',
  'toolUsePromptTokensDetails'
] as const

export const GEMINI: UsageDialect = {
  name: 'Gemini usageMetadata',
  known: new Set<string>([...COUNTS, ...BY_CONTENT]),
  fits: (usage) => hasAny(usage, ['totalTokenCount']),
  read
}

function read(usage: FieldReader): TokenPools {
  const prompt = usage.countOrZero('promptTokenCount')
  const cacheRead = usage.countOrZero('cachedContentTokenCount')
  const toolUse = usage.countOrZero('toolUsePromptTokenCount')
  const candidates = usage.countOrZero('candidatesTokenCount')
  const response = usage.countOrZero('responseTokenCount')
  const reasoning = usage.countOrZero('thoughtsTokenCount')
  if (candidates > 0 && response > 0)
    usage.reject('responseTokenCount', 'stands beside candidatesTokenCount: which counts?')
  const output = candidates + response
  checkSum(usage, ['totalTokenCount', usage.count('totalTokenCount')], [prompt, toolUse, output, reasoning])
  const fresh = remainder(usage, ['promptTokenCount', prompt], ['cachedContentTokenCount', cacheRead])
  return { input: fresh + toolUse, cacheRead, cacheWrite: 0, output, reasoning }
}
