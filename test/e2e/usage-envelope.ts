/** Usage events and limits as the clients of tokenmeter write them. */

export interface UsageEnvelope {
  readonly specversion: string
  readonly id: string
  readonly source: string
  readonly type: string
  readonly subject: string
  readonly time: string
  readonly data: Readonly<Record<string, unknown>>
}

export interface UsageAsked {
  readonly id: string
  readonly customerId: string
  /** Milliseconds since the epoch; now unless given. */
  readonly occurredAt?: number
  /** Beside model and provider: `tokens` or `usage`, `userId`, `holdId`. */
  readonly data: Readonly<Record<string, unknown>>
}

export const SOURCE = 'e2e'

export function usageEnvelope({ id, customerId, occurredAt = Date.now(), data }: UsageAsked): UsageEnvelope {
  return {
    specversion: '1.0',
    id,
    source: SOURCE,
    type: 'ai.tokens.used',
    subject: customerId,
    time: new Date(occurredAt).toISOString(),
    data: { model: 'gpt-5.1', provider: 'openai', ...data }
  }
}

/** A hard limit on all tokens of the customer in a rolling day, which no midnight cuts, unless `change` says otherwise. */
export function limit(id: string, max: number, change: object = {}): object {
  return {
    id,
    scope: { kind: 'customer' },
    measure: { kind: 'total' },
    window: { kind: 'rolling', hours: 24 },
    max,
    mode: 'hard',
    whenUnknown: 'deny',
    ...change
  }
}
