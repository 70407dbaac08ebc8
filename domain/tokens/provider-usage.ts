/**
 * Turns a provider's own usage object into exclusive pools. Providers disagree about what contains what: OpenAI counts cached
 * tokens inside the input, Anthropic and Bedrock beside it; OpenAI counts reasoning inside the output, Gemini beside it. Each
 * dialect has a file that names its source. An object that does not add up is rejected, and so is one that could be read in
 * two ways: nothing here guesses, since each guess would end up on an invoice.
 */
import { FieldReader, FirstFault, isObject, shownKey } from './field-reader.ts'
import { type TokenPools, totalTokens } from './token-pools.ts'
import { ANTHROPIC_MESSAGES } from './usage-dialects/anthropic.ts'
import { BEDROCK_CONVERSE } from './usage-dialects/bedrock.ts'
import { saysMoreTokens, type UsageDialect } from './usage-dialects/dialect.ts'
import { GEMINI } from './usage-dialects/gemini.ts'
import { OPENAI_CHAT, OPENAI_RESPONSES } from './usage-dialects/openai.ts'
import { OTEL } from './usage-dialects/otel.ts'
import type { Rejection } from './usage-event.ts'

/**
 * The dialects each provider may speak: clouds pass the objects of the models they host through. Names as emitters write
 * them, those of `gen_ai.provider.name` (OpenTelemetry registry of gen_ai attributes) among them, in lower case.
 */
const SPOKEN = {
  openai: [OPENAI_CHAT, OPENAI_RESPONSES, OTEL],
  anthropic: [ANTHROPIC_MESSAGES, OTEL],
  google: [GEMINI, ANTHROPIC_MESSAGES, OTEL],
  bedrock: [BEDROCK_CONVERSE, ANTHROPIC_MESSAGES, OTEL],
  otel: [OTEL]
} as const

const DIALECTS: ReadonlyMap<string, readonly UsageDialect[]> = new Map<string, readonly UsageDialect[]>([
  ['openai', SPOKEN.openai],
  ['azure', SPOKEN.openai],
  ['azure-openai', SPOKEN.openai],
  ['azure.ai.openai', SPOKEN.openai],
  ['azure.ai.inference', SPOKEN.openai],
  ['anthropic', SPOKEN.anthropic],
  ['google', SPOKEN.google],
  ['gemini', SPOKEN.google],
  ['vertex', SPOKEN.google],
  ['vertexai', SPOKEN.google],
  ['gcp.gemini', SPOKEN.google],
  ['gcp.gen_ai', SPOKEN.google],
  ['gcp.vertex_ai', SPOKEN.google],
  ['aws', SPOKEN.bedrock],
  ['bedrock', SPOKEN.bedrock],
  ['aws.bedrock', SPOKEN.bedrock],
  ['otel', SPOKEN.otel],
  ['opentelemetry', SPOKEN.otel]
])

const FIELD = 'data.usage'

/** Exclusive pools whose sum is what the provider counted, or why there are none; the fields stand under `data.usage`. */
export function poolsFromProviderUsage(
  provider: string,
  usage: unknown
): { readonly tokens: TokenPools } | { readonly rejection: Rejection } {
  if (!isObject(usage)) return invalid(FIELD, 'must be an object')
  const spoken = DIALECTS.get(provider.toLowerCase())
  if (spoken === undefined) {
    return invalid('data.provider', `has no usage format known here: send "tokens" for ${shownKey(provider)}`)
  }
  const fitting = spoken.filter((dialect) => dialect.fits(usage))
  const dialect = fitting[0]
  if (dialect === undefined) return invalid(FIELD, `has the shape of none of: ${namesOf(spoken)}`)
  if (fitting.length > 1) return invalid(FIELD, `could be any of: ${namesOf(fitting)}`)
  return read(dialect, usage)
}

function read(dialect: UsageDialect, usage: Readonly<Record<string, unknown>>) {
  const fault = new FirstFault()
  const reader = new FieldReader(usage, { code: 'invalid-data', path: `${FIELD}.`, fault })
  const tokens = dialect.read(reader)
  for (const key of reader.keys()) {
    if (!dialect.known.has(key) && saysMoreTokens(key, usage[key])) {
      reader.reject(shownKey(key), `is unknown in ${dialect.name} and may count tokens`)
    }
  }
  if (fault.rejection !== null) return { rejection: fault.rejection }
  if (!Number.isSafeInteger(totalTokens(tokens))) return invalid(FIELD, 'must sum to less than 2^53')
  return { tokens }
}

function namesOf(dialects: readonly UsageDialect[]): string {
  return dialects.map((dialect) => dialect.name).join(', ')
}

function invalid(field: string, message: string): { readonly rejection: Rejection } {
  return { rejection: { code: 'invalid-data', field, message } }
}
