import t from 'tap'
import { SoakTraffic } from './soak-traffic.ts'

const SHAPE = { seed: 7, customers: 50, perSecond: 1_000, startsAt: Date.parse('2026-11-26T00:00:00Z') }
const RECORDS = 20_000

function eventOf({ value }: { readonly value: Buffer }) {
  const event: { id: string; time: string; subject: string; data: { tokens: Record<string, number> } } = JSON.parse(
    String(value)
  )
  return event
}

t.test('the account has each event once, however often it is sent', async (t) => {
  const traffic = new SoakTraffic(SHAPE)
  const counted = new Map<string, number>()
  const seen = new Map<string, string>()
  let repeats = 0
  for (let i = 0; i < RECORDS; i++) {
    const message = traffic.next()
    const { id, subject, data } = eventOf(message)
    const first = seen.get(id)
    if (first === undefined) {
      seen.set(id, String(message.value))
      const total = Object.values(data.tokens).reduce((sum, tokens) => sum + tokens, 0)
      counted.set(subject, (counted.get(subject) ?? 0) + total)
    } else {
      repeats++
      t.equal(String(message.value), first, 'a repeat is exact')
    }
  }
  const { account } = traffic
  t.same(account.byCustomer, counted)
  t.same([account.events, account.repeats], [RECORDS - repeats, repeats])
  t.ok(Math.abs(repeats / RECORDS - 0.02) < 0.005, `${repeats} repeats`)
})

t.test('events move on with the timetable, and none is of a time that has not come', async (t) => {
  const traffic = new SoakTraffic(SHAPE)
  const times = Array.from({ length: 5_000 }, () => Date.parse(eventOf(traffic.next()).time))
  t.ok(times.every((time, i) => time <= SHAPE.startsAt + i))
  t.ok(times.slice(-100).every((time) => time > SHAPE.startsAt - 120_000 + 4_000))
})

t.test('the same seed makes the same traffic', async (t) => {
  const [one, other] = [new SoakTraffic(SHAPE), new SoakTraffic(SHAPE)]
  t.ok(Array.from({ length: 1_000 }, () => one.next().value.equals(other.next().value)).every(Boolean))
})
