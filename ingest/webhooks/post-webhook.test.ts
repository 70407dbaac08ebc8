import t from 'tap'
import type { Attempt, DueDelivery } from '../../domain/webhooks/webhook-delivery.ts'
import { makeWebhookSecret } from '../../domain/webhooks/webhook-endpoint.ts'
import { type PostOptions, webhookPost } from './post-webhook.ts'
import { CERTIFICATE, RECEIVER_HOST, startReceiver, startTlsReceiver } from './receiver.ts'

function deliveryTo(url: string): DueDelivery {
  return {
    endpointId: 'e',
    eventId: 'event-1',
    url,
    secrets: [makeWebhookSecret()],
    payload: '{"type":"é"}',
    attempts: 1,
    attemptsOfRound: 1
  }
}

async function post(url: string, options: Partial<PostOptions> = {}): Promise<Attempt> {
  return webhookPost({ allowPrivate: false, ...options })(deliveryTo(url))
}

t.test('a host whose addresses are not all public is refused as the connection is made', async (t) => {
  const { port, received } = await startReceiver(t)
  const url = `https://rebinding.example.com:${port}/`
  for (const addresses of [
    ['127.0.0.1'],
    ['::1'],
    ['::ffff:127.0.0.1'],
    ['169.254.169.254'],
    ['10.0.0.1'],
    ['fd00::1'],
    ['198.41.0.4', '127.0.0.1'],
    ['127.0.0.1', '198.41.0.4'],
    []
  ]) {
    const attempt = await post(url, { resolveHost: async () => addresses })
    t.same(attempt, { delivered: false, status: null, fault: 'address-refused' }, addresses.join())
  }
  t.same(received, [])
})

t.test('a name that was public when it was judged and is private when it is connected to is refused', async (t) => {
  const { port, received } = await startReceiver(t)
  const answers = [['198.41.0.4'], ['127.0.0.1']]
  const resolveHost = async () => answers.shift() ?? []
  t.same(await resolveHost(), ['198.41.0.4'], 'as it is registered')
  const attempt = await post(`https://rebinding.example.com:${port}/`, { resolveHost })
  t.match(attempt, { fault: 'address-refused' })
  t.same(received, [])
})

t.test('an address in the URL is refused without a look-up, and so is what is not https', async (t) => {
  const { port, received } = await startReceiver(t)
  for (const url of [
    `https://127.0.0.1:${port}/`,
    `https://[::1]:${port}/`,
    `https://2130706433:${port}/`,
    `https://localhost:${port}/`,
    `http://127.0.0.1:${port}/`,
    `http://hooks.example.com:${port}/`
  ]) {
    t.same(await post(url), { delivered: false, status: null, fault: 'address-refused' }, url)
  }
  t.same(received, [])
})

t.test('over TLS the certificate must be good for the name', async (t) => {
  const { port, received } = await startTlsReceiver(t)
  const options = { allowPrivate: true, resolveHost: async () => ['127.0.0.1'] }
  const url = `https://${RECEIVER_HOST}:${port}/`
  t.match(await post(url, options), { fault: 'certificate-refused' })
  const other = `https://other.example.test:${port}/`
  t.match(await post(other, { ...options, authority: CERTIFICATE }), { fault: 'certificate-refused' })
  t.same(received, [])
  t.same(await post(url, { ...options, authority: CERTIFICATE }), { delivered: true, status: 204 })
  t.match(received, [{ body: '{"type":"é"}', headers: { host: `${RECEIVER_HOST}:${port}`, 'webhook-id': 'event-1' } }])
})

t.test('only a 2xx delivers; redirects are not followed, and a long answer is not waited for', async (t) => {
  const statuses = [200, 301, 307, 404, 410, 429, 500]
  const { port, received } = await startReceiver(t, (_, count) => statuses[count - 1] ?? 599)
  const attempts: Attempt[] = []
  for (const _ of statuses) attempts.push(await post(`http://127.0.0.1:${port}/hook`, { allowPrivate: true }))
  t.same(attempts, [
    { delivered: true, status: 200 },
    { delivered: false, status: 301, fault: 'status-not-2xx' },
    { delivered: false, status: 307, fault: 'status-not-2xx' },
    { delivered: false, status: 404, fault: 'status-not-2xx' },
    { delivered: false, status: 410, fault: 'gone' },
    { delivered: false, status: 429, fault: 'status-not-2xx' },
    { delivered: false, status: 500, fault: 'status-not-2xx' }
  ])
  t.same(new Set(received.map(({ path }) => path)), new Set(['/hook']))
})

t.test('a receiver that hangs up, is away, has no name or does not answer is an outcome', async (t) => {
  const hangingUp = await startReceiver(t, () => null)
  const options = { allowPrivate: true }
  t.match(await post(`http://127.0.0.1:${hangingUp.port}/`, options), { fault: 'connection-failed' })
  t.match(await post('http://127.0.0.1:1/', options), { fault: 'connection-failed' })
  const unknown = Object.assign(new Error('no such host'), { code: 'ENOTFOUND' })
  const resolveHost = () => Promise.reject(unknown)
  t.match(await post('https://hooks.example.com/', { resolveHost }), { fault: 'host-unknown' })
  const neverResolved = () => Promise.withResolvers<readonly string[]>().promise
  const late = { resolveHost: neverResolved, timeoutMs: 50 }
  t.match(await post('https://hooks.example.com/', late), { fault: 'timed-out' })
})
