/**
 * A published event as other services read it: CloudEvents 1.0, structured mode. docs/events/ has a JSON Schema for each type.
 */
import type { LeavingEvent } from '../../domain/published-event.ts'

/** Begins the type of each event on the topic, so that it says whose it is where several services write to one. */
export const EVENT_TYPE_PREFIX = 'tokenmeter.'
export const EVENT_SOURCE = '/tokenmeter'

const HEADERS = { 'content-type': 'application/cloudevents+json; charset=UTF-8' } as const

export interface EncodedPublishedEvent {
  readonly value: Buffer
  readonly headers: Record<string, string>
}

export function encodePublishedEvent({ id, type, customerId, at, data }: LeavingEvent): EncodedPublishedEvent {
  const envelope = {
    specversion: '1.0',
    id,
    source: EVENT_SOURCE,
    type: `${EVENT_TYPE_PREFIX}${type}`,
    subject: customerId,
    time: new Date(at).toISOString(),
    datacontenttype: 'application/json',
    data
  }
  return { value: Buffer.from(JSON.stringify(envelope)), headers: { ...HEADERS } }
}
