/** From the body of a usage-events request to a verdict per record. What is accepted here is still judged at its arrival. */
import { type DecodeLimits, decodeCloudEvent } from '../domain/tokens/decode-cloud-event.ts'
import { contentOf, identityOf, type Rejection, type UsageEvent } from '../domain/tokens/usage-event.ts'

/** `conflict`: another record of the batch has the identity and another content. */
export type RecordFault = Omit<Rejection, 'code'> & { readonly code: Rejection['code'] | 'conflict' }

export type RecordVerdict =
  | { readonly status: 'accepted'; readonly event: UsageEvent }
  | { readonly status: 'duplicate-in-batch'; readonly event: UsageEvent }
  | { readonly status: 'rejected'; readonly id: string | null; readonly fault: RecordFault }

/** Throws a SyntaxError when a record that is small enough is not JSON. */
export function judgeUsageEvents(records: readonly Buffer[], arrivedAt: number, limits: DecodeLimits): RecordVerdict[] {
  const contents = new Map<string, string>()
  return records.map((record) => {
    if (record.length > limits.valueBytesMax) {
      return rejected(null, { code: 'too-large', field: null, message: `is larger than ${limits.valueBytesMax} bytes` })
    }
    const envelope: unknown = JSON.parse(record.toString())
    const verdict = judge(envelope, arrivedAt, limits)
    if (verdict.status !== 'accepted') return verdict
    const { event } = verdict
    const earlier = contents.get(identityOf(event))
    if (earlier === undefined) contents.set(identityOf(event), contentOf(event))
    else if (earlier === contentOf(event)) return { status: 'duplicate-in-batch', event }
    else
      return rejected(event.id, {
        code: 'conflict',
        field: 'id',
        message: 'is taken in this batch with another content'
      })
    return verdict
  })
}

function judge(envelope: unknown, arrivedAt: number, limits: DecodeLimits): RecordVerdict {
  const decoded = decodeCloudEvent(envelope, arrivedAt, limits)
  if ('rejection' in decoded) return rejected(idOf(envelope), decoded.rejection)
  const { event } = decoded
  if (event.kind === 'used') return { status: 'accepted', event }
  return rejected(event.id, { code: 'unknown-type', field: 'type', message: 'is made by the void route only' })
}

function rejected(id: string | null, fault: RecordFault): RecordVerdict {
  return { status: 'rejected', id, fault }
}

/** The id that a rejected record states, so that its sender can find it. */
function idOf(envelope: unknown): string | null {
  if (typeof envelope !== 'object' || envelope === null || !('id' in envelope)) return null
  return typeof envelope.id === 'string' ? envelope.id.slice(0, 256) : null
}
