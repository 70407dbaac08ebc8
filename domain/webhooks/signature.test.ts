import { Webhook } from 'standardwebhooks'
import t from 'tap'
import { ATTEMPTS_DEFAULT, pauseAfter } from './retry-schedule.ts'
import { signatureHeaders } from './signature.ts'
import { makeWebhookSecret } from './webhook-endpoint.ts'

const payload = '{"type": "quota.exhausted", "data": {"é": "\u{1F4A5}"}}'

t.test('receivers verify a delivery by their own library, with either secret of a rotation', async (t) => {
  const [fresh, old, foreign] = [makeWebhookSecret(), makeWebhookSecret(), makeWebhookSecret()]
  const headers = signatureHeaders({ id: 'e1', at: Date.now(), payload }, [fresh, old])
  t.same(new Webhook(fresh).verify(payload, headers), JSON.parse(payload))
  t.same(new Webhook(old).verify(payload, headers), JSON.parse(payload))
  t.throws(() => new Webhook(foreign).verify(payload, headers))
  t.throws(() => new Webhook(fresh).verify(`${payload} `, headers))
  t.throws(() => new Webhook(fresh).verify(payload, { ...headers, 'webhook-id': 'e2' }))
})

t.test('a delivery that is sent again an hour later is refused', async (t) => {
  const secret = makeWebhookSecret()
  const headers = signatureHeaders({ id: 'e1', at: Date.now() - 3_600_000, payload }, [secret])
  t.throws(() => new Webhook(secret).verify(payload, headers), /old/)
})

t.test('attempts spread over three days, each pause at least as long as the one before', async (t) => {
  const pauses = Array.from({ length: ATTEMPTS_DEFAULT - 1 }, (_, i) => pauseAfter(i + 1, 0))
  t.equal(pauses[0], 5_000)
  t.same(
    pauses,
    pauses.toSorted((a, b) => a - b)
  )
  const days = pauses.reduce((sum, pause) => sum + pause) / 86_400_000
  t.ok(days > 3 && days < 4, `${days} days`)
  t.equal(pauseAfter(40, 0), 86_400_000)
  t.equal(pauseAfter(1, 0.5), 5_500)
})
