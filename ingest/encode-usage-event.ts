/**
 * A usage event as this product writes it to the log: CloudEvents 1.0, structured mode. `decodeUsageEvent` reads back the
 * same event.
 */
import { voidEnvelopeId } from '../domain/tokens/decode-cloud-event.ts'
import { USAGE_EVENT_TYPE, type UsageEvent, VOID_EVENT_TYPE } from '../domain/tokens/usage-event.ts'

const HEADERS = { 'content-type': 'application/cloudevents+json; charset=UTF-8' } as const

export interface EncodedEvent {
  readonly value: Buffer
  readonly headers: Readonly<Record<string, string>>
}

/** Of an event as decoded. What is empty is left out; provider usage objects have become pools already. */
export function encodeUsageEvent(event: UsageEvent): EncodedEvent {
  const voided = event.kind === 'voided'
  const envelope = {
    specversion: '1.0',
    id: voided ? voidEnvelopeId(event.id) : event.id,
    source: event.source,
    type: voided ? VOID_EVENT_TYPE : USAGE_EVENT_TYPE,
    subject: event.customerId,
    time: new Date(event.occurredAt).toISOString(),
    datacontenttype: 'application/json',
    data: {
      voids: voided ? { id: event.id, source: event.source } : undefined,
      userId: event.userId || undefined,
      model: event.model,
      provider: event.provider,
      operation: event.operation || undefined,
      requestId: event.requestId || undefined,
      holdId: event.holdId || undefined,
      tokens: event.tokens,
      metadata: Object.keys(event.metadata).length === 0 ? undefined : event.metadata
    }
  }
  return { value: Buffer.from(JSON.stringify(envelope)), headers: HEADERS }
}
