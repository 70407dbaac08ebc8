/**
 * What becomes of one delivery that was taken. It may die between any two awaited lines: the lease then brings the delivery back, and
 * the receiver may get it again under the same id.
 */
import { randomUUIDv7 } from 'node:crypto'
import { type Change, PLATFORM } from '../../domain/change.ts'
import type { DeliveryQueue, PostWebhook } from '../../domain/webhooks/delivery-queue.ts'
import { endpointJson } from '../../domain/webhooks/endpoint-json.ts'
import { pauseAfter } from '../../domain/webhooks/retry-schedule.ts'
import type { Attempt, DueDelivery } from '../../domain/webhooks/webhook-delivery.ts'
import { changeEndpoint, type WebhookEndpoint } from '../../domain/webhooks/webhook-endpoint.ts'
import type { WebhookEndpointStore } from '../../domain/webhooks/webhook-store.ts'

const ACTOR = { kind: 'service', id: 'webhook-delivery', address: null, requestId: null } as const

export interface DeliveryPorts {
  readonly queue: Pick<DeliveryQueue, 'settle'>
  readonly endpoints: Pick<WebhookEndpointStore, 'find' | 'update'>
  readonly post: PostWebhook
  /** Of a round: the one after which a delivery is given up. */
  readonly attemptsMax: number
  /** In [0, 1). */
  readonly random: () => number
  readonly now: () => number
}

export async function deliver(ports: DeliveryPorts, delivery: DueDelivery): Promise<Attempt> {
  const attempt = isDisabled(delivery) ? DISABLED : await ports.post(delivery)
  await ports.queue.settle(delivery, { attempt, retryInMs: retryAfter(ports, delivery, attempt) })
  if (!attempt.delivered && attempt.fault === 'gone') await disable(ports, delivery.endpointId)
  return attempt
}

/** What came before the endpoint was disabled is given up, so that it does not all go out when it is active again. */
const DISABLED: Attempt = { delivered: false, status: null, fault: 'endpoint-disabled' }

function isDisabled({ secrets }: DueDelivery): boolean {
  return secrets.length === 0
}

function retryAfter(
  { attemptsMax, random }: DeliveryPorts,
  { attemptsOfRound }: DueDelivery,
  attempt: Attempt
): number | null {
  if (attempt.delivered || attempt.fault === 'gone' || attempt.fault === 'endpoint-disabled') return null
  return attemptsOfRound >= attemptsMax ? null : pauseAfter(attemptsOfRound, random())
}

/** The receiver says that there is nothing any more. Who changes the endpoint at the same moment knows better: the next answer decides. */
async function disable({ endpoints, now }: DeliveryPorts, endpointId: string): Promise<void> {
  const before = await endpoints.find(PLATFORM, endpointId)
  if (before === null || before.status === 'disabled') return
  const next = changeEndpoint(before, { status: 'disabled' }, now())
  await endpoints.update(next, null, disabling(before, next))
}

function disabling(before: WebhookEndpoint, next: WebhookEndpoint): Change {
  const record = {
    id: randomUUIDv7(),
    customerId: next.customerId,
    actor: ACTOR,
    action: 'webhook-endpoint.gone',
    entity: { kind: 'webhook-endpoint', id: next.id },
    before: endpointJson(before),
    after: endpointJson(next),
    at: next.updatedAt
  }
  return { reach: PLATFORM, audit: [record], events: [], request: null }
}
