import { Webhook } from 'standardwebhooks'
import t from 'tap'
import type { DeliveryQueue } from '../../domain/webhooks/delivery-queue.ts'
import { Database } from '../../sql/connect.ts'
import { PostgresQuotaNotices } from '../../sql/quota-notices.ts'
import { PostgresDeliveryQueue } from '../../sql/webhooks/delivery-queue.ts'
import { PostgresWebhookEndpointStore } from '../../sql/webhooks/endpoint-store.ts'
import { waitUntil } from '../../stack/machine/wait-until.ts'
import { startCustomerService } from '../../test/customer-service.ts'
import { silentLogger } from '../../test/topics.ts'
import { resolveBySystem, webhookPost } from './post-webhook.ts'
import { type Receiver, signedHeaders, startReceiver } from './receiver.ts'
import { type DeliveriesOptions, type RunningDeliveries, startDeliveries } from './run-deliveries.ts'

type Teardown = Pick<typeof import('tap').default, 'teardown'>

const CUSTOMER = {
  kind: 'sme',
  legalName: 'Clinic',
  country: 'FR',
  currency: 'EUR',
  timeZone: 'Europe/Paris',
  locale: 'fr',
  taxId: 'FR12345678901'
}

/** The API on a fresh database, and a worker that may post to this machine. */
async function startService(t: Teardown) {
  const webhookUrls = { allowPrivate: true, resolveHost: resolveBySystem }
  const service = await startCustomerService(t, {}, { webhookUrls })
  const database = new Database({ databaseUrl: service.databaseUrl, applicationName: 'webhooks-test' })
  t.teardown(() => database.close())
  const { entities, call } = service
  const made = async (route: `POST ${string}`, body: object) => {
    const answer = await call(route, body)
    if (answer.status >= 300) throw new Error(`${route} ${answer.status}: ${answer.text}`)
    return answer.body
  }
  const { id: customerId } = await made('POST /v1/customers', CUSTOMER)
  let invited = 0
  return {
    ...service,
    database,
    customerId,
    made,
    endpoint: (receiver: Receiver, more: object = {}) =>
      made('POST /v1/webhook-endpoints', { customerId, url: `http://127.0.0.1:${receiver.port}/hook`, ...more }),
    invite: (id = customerId) =>
      made(`POST /v1/customers/${id}/users`, { email: `u${invited++}@x.test`, role: 'viewer' }),
    work: (options: Partial<DeliveriesOptions> = {}) => worker(t, entities, options),
    deliveries: async (endpointId: string) =>
      (await call(`GET /v1/webhook-endpoints/${endpointId}/deliveries?limit=200`)).body.data,
    /** As if the pause were over, or the lease. */
    makeDue: () =>
      service.entities.run('make deliveries due', async () =>
        ownerQuery(service.databaseUrl, `update webhook_delivery set next_attempt_at = now() where status = 'pending'`)
      )
  }
}

async function ownerQuery(databaseUrl: string, text: string): Promise<void> {
  const database = new Database({ databaseUrl, applicationName: 'webhooks-test', role: 'tokenmeter_platform' })
  await database.query('change by hand', { text })
  await database.close()
}

type Entities = ConstructorParameters<typeof PostgresDeliveryQueue>[0]

function worker(t: Teardown, entities: Entities, options: Partial<DeliveriesOptions>): RunningDeliveries {
  const running = startDeliveries({
    queue: new PostgresDeliveryQueue(entities),
    endpoints: new PostgresWebhookEndpointStore(entities),
    post: webhookPost({ allowPrivate: true }),
    attemptsMax: 10,
    logger: silentLogger,
    onAttempt: () => undefined,
    onError: (error) => {
      throw error
    },
    pollIntervalMs: 20,
    ...options
  })
  t.teardown(() => running.stop())
  return running
}

async function until(what: string, isSo: () => Promise<boolean> | boolean): Promise<void> {
  await waitUntil(async () => isSo(), { what, timeoutMs: 10_000, pollIntervalMs: 10 })
}

t.test('an event goes to each endpoint that wants it, signed, and to no other customer', async (t) => {
  const service = await startService(t)
  const [all, users, others, disabled] = await Promise.all([1, 2, 3, 4].map(() => startReceiver(t)))
  if (!(all && users && others && disabled)) throw new Error('no receivers')
  const { secret } = await service.endpoint(all)
  await service.endpoint(users, { eventTypes: ['user.invited'] })
  await service.endpoint(others, { eventTypes: ['user.disabled', 'quota.exhausted'] })
  const off = await service.endpoint(disabled)
  await service.call(`PATCH /v1/webhook-endpoints/${off.id}`, { status: 'disabled' }, { 'if-match': '*' })
  const stranger = await service.made('POST /v1/customers', { ...CUSTOMER, legalName: 'Other' })
  const user = await service.invite()
  await service.invite(stranger.id)
  service.work()
  await until('both deliveries', () => all.received.length === 1 && users.received.length === 1)
  const [delivery] = all.received
  if (delivery === undefined) throw new Error('nothing came')
  const told = new Webhook(secret).verify(delivery.body, signedHeaders(delivery))
  t.match(told, { type: 'user.invited', customerId: service.customerId, data: { id: user.id, email: user.email } })
  const [event] = await service.database.query('read the outbox', {
    text: 'select id from outbox where type = $1 and customer_id = $2',
    values: ['user.invited', service.customerId]
  })
  t.match(event, { id: delivery.headers['webhook-id'] }, 'the id under which it is published to Kafka')
  t.equal(users.received[0]?.headers['webhook-id'], delivery.headers['webhook-id'])
  t.same([others.received, disabled.received], [[], []])
})

t.test('a receiver that fails twice gets the same event under the same id until it takes it', async (t) => {
  const service = await startService(t)
  const receiver = await startReceiver(t, (_, count) => [500, null, 204].at(count - 1) ?? null)
  const { id, secret } = await service.endpoint(receiver)
  await service.invite()
  const before = Date.now()
  service.work()
  await until('the first failure', async () => (await service.deliveries(id))[0]?.lastError === 'status-not-2xx')
  const [first] = await service.deliveries(id)
  const pauseMs = Date.parse(first.nextAttemptAt) - before
  t.ok(pauseMs > 4_000 && pauseMs < 17_000, `tried again after ${pauseMs} ms`)
  t.match(first, { status: 'pending', attempts: 1, lastStatus: 500, endedAt: null })
  await service.makeDue()
  await until('the second failure', async () => (await service.deliveries(id))[0]?.lastError === 'connection-failed')
  await service.makeDue()
  await until('the delivery', async () => (await service.deliveries(id))[0]?.status === 'delivered')
  t.match(await service.deliveries(id), [{ attempts: 3, lastStatus: 204, lastError: null, nextAttemptAt: null }])
  t.equal(receiver.received.length, 3)
  t.equal(new Set(receiver.received.map(({ headers }) => headers['webhook-id'])).size, 1)
  t.equal(new Set(receiver.received.map(({ body }) => body)).size, 1)
  for (const one of receiver.received) new Webhook(secret).verify(one.body, signedHeaders(one))
})

t.test('what was given up goes out again when somebody asks, and the trail says who', async (t) => {
  const service = await startService(t)
  const receiver = await startReceiver(t, (_, count) => (count <= 2 ? 503 : 200))
  const { id } = await service.endpoint(receiver)
  await service.invite()
  service.work({ attemptsMax: 2 })
  await until('the first failure', async () => (await service.deliveries(id))[0]?.attempts === 1)
  await until('its settlement', async () => (await service.deliveries(id))[0]?.lastStatus === 503)
  await service.makeDue()
  await until('giving up', async () => (await service.deliveries(id))[0]?.status === 'failed')
  const [{ eventId }] = await service.deliveries(id)
  const again = await service.call(`POST /v1/webhook-endpoints/${id}/deliveries/${eventId}/redeliver`)
  t.match(again, { status: 200, body: { eventId, status: 'pending', endedAt: null } })
  await until('the delivery', async () => (await service.deliveries(id))[0]?.status === 'delivered')
  t.same(new Set(receiver.received.map(({ headers }) => headers['webhook-id'])), new Set([eventId]))
  const audit = await service.call(`GET /v1/audit-events?customerId=${service.customerId}`)
  t.match(audit.text, 'webhook-delivery.redelivered')
  const unknown = await service.call(`POST /v1/webhook-endpoints/${id}/deliveries/none/redeliver`)
  t.match(unknown, { status: 404, body: { code: 'unknown-webhook-delivery' } })
})

t.test('an endpoint that says it is gone is disabled, and what waits for it is given up', async (t) => {
  const service = await startService(t)
  const receiver = await startReceiver(t, () => 410)
  const { id } = await service.endpoint(receiver)
  for (let i = 0; i < 6; i += 1) await service.invite()
  service.work()
  const statuses = async () => new Set((await service.deliveries(id)).map(({ status }: { status: string }) => status))
  await until('all to fail', async () => !(await statuses()).has('pending'))
  t.same(await statuses(), new Set(['failed']))
  await until('the endpoint to be disabled', async () => {
    const { body } = await service.call(`GET /v1/webhook-endpoints/${id}`)
    return body.status === 'disabled' && body.version === 2
  })
  await service.invite()
  t.equal((await service.deliveries(id)).length, 6, 'what happens afterwards is not kept for it')
  const audit = await service.call(`GET /v1/audit-events?customerId=${service.customerId}`)
  t.match(audit.text, 'webhook-endpoint.gone')
})

t.test('two workers deliver each event once', async (t) => {
  const service = await startService(t)
  const receiver = await startReceiver(t)
  const { id } = await service.endpoint(receiver)
  const second = await service.endpoint(receiver)
  for (let i = 0; i < 20; i += 1) await service.invite()
  service.work()
  service.work()
  await until('all deliveries', async () => {
    const all = [...(await service.deliveries(id)), ...(await service.deliveries(second.id))]
    return all.length === 40 && all.every(({ status }) => status === 'delivered')
  })
  const { received } = receiver
  t.equal(received.length, 40)
  t.equal(new Set(received.map(({ headers }) => headers['webhook-signature'])).size, 40, 'each once to each endpoint')
})

t.test('what a dead worker had in hand comes back after its lease, and what it says late is not heard', async (t) => {
  const service = await startService(t)
  const receiver = await startReceiver(t)
  const { id } = await service.endpoint(receiver)
  await service.invite()
  const dead: DeliveryQueue = new PostgresDeliveryQueue(service.entities)
  const next: DeliveryQueue = new PostgresDeliveryQueue(service.entities)
  const asked = { limit: 10, busy: [] }
  const [held] = await dead.take(asked)
  if (held === undefined) throw new Error('nothing was due')
  t.same(await next.take(asked), [], 'for as long as the lease')
  await service.makeDue()
  t.same(await next.take({ limit: 10, busy: [id] }), [], 'nor while the endpoint is busy')
  t.match(await next.take(asked), [{ eventId: held.eventId, attempts: 2, payload: held.payload }])
  await dead.settle(held, { attempt: { delivered: true, status: 200 }, retryInMs: null })
  t.match(await service.deliveries(id), [{ status: 'pending', attempts: 2 }])
  await service.makeDue()
  service.work()
  await until('the delivery', async () => (await service.deliveries(id))[0]?.status === 'delivered')
})

t.test('while one secret replaces another both sign; afterwards the new one alone', async (t) => {
  const service = await startService(t)
  service.setNow(Date.now())
  const receiver = await startReceiver(t)
  const { id, secret: old } = await service.endpoint(receiver)
  const { secret: fresh } = await service.made(`POST /v1/webhook-endpoints/${id}/rotate-secret`, {})
  await service.invite()
  service.work()
  await until('the first delivery', () => receiver.received.length === 1)
  const [first] = receiver.received
  if (first === undefined) throw new Error('nothing came')
  for (const secret of [old, fresh]) new Webhook(secret).verify(first.body, signedHeaders(first))
  const { secret: last } = await service.made(`POST /v1/webhook-endpoints/${id}/rotate-secret`, { overlapSeconds: 0 })
  await service.invite()
  await until('the second delivery', () => receiver.received.length === 2)
  const second = receiver.received[1]
  if (second === undefined) throw new Error('nothing came')
  new Webhook(last).verify(second.body, signedHeaders(second))
  t.throws(() => new Webhook(fresh).verify(second.body, signedHeaders(second)))
})

t.test('a threshold of a limit is told by webhook as well, as it is written by another way', async (t) => {
  const service = await startService(t)
  const receiver = await startReceiver(t)
  await service.endpoint(receiver, { eventTypes: ['quota.exhausted'] })
  const { customerId } = service
  const notice = {
    customerId,
    limitId: 'm',
    userId: null,
    model: null,
    percent: 100,
    used: 9,
    max: 9,
    mode: 'hard'
  } as const
  const at = Date.now()
  const notices = new PostgresQuotaNotices(service.database)
  const whole = { ...notice, type: 'quota.exhausted', windowEnd: at + 60_000, at } as const
  await notices.record([whole])
  await notices.record([whole])
  service.work()
  await until('the delivery', () => receiver.received.length > 0)
  t.match(JSON.parse(receiver.received[0]?.body ?? ''), {
    type: 'quota.exhausted',
    timestamp: new Date(at).toISOString(),
    data: { limitId: 'm' }
  })
  t.equal(receiver.received.length, 1)
})

t.test('a month after it ended a delivery is forgotten; one that waits is not', async (t) => {
  const service = await startService(t)
  const receiver = await startReceiver(t)
  const { id } = await service.endpoint(receiver)
  await service.invite()
  const running = service.work()
  await until('the delivery', async () => (await service.deliveries(id))[0]?.status === 'delivered')
  await running.stop()
  await service.invite()
  const queue: DeliveryQueue = new PostgresDeliveryQueue(service.entities)
  t.equal(await queue.forget(), 0)
  const aged = `update webhook_delivery set created_at = created_at - interval '31 days', ended_at = ended_at - interval '31 days'`
  await ownerQuery(service.databaseUrl, aged)
  t.equal(await queue.forget(), 1)
  t.match(await service.deliveries(id), [{ status: 'pending' }])
})
