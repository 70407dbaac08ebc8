/** Limits for every customer of the soak, by the API as an operator sets them: its checks and counters are then those of real customers. */
import { type DemoApi, send } from '../../stack/demo/demo-api.ts'
import { limit } from '../../stack/demo/limits.ts'
import { customerName } from '../harness/usage-records.ts'

const AT_ONCE = 20
const TIME_ZONE = 'Europe/Paris'
/** Never reached. */
const MONTH_MAX = 1_000_000_000_000
/** Every so manieth customer has limits beyond that of the month, and every so manieth a tight one, so that checks are refused too. */
const MANY_EVERY = 10
const TIGHT_EVERY = 7
const TIGHT_MAX = 100_000

export async function setSoakLimits(api: DemoApi, customers: number): Promise<void> {
  for (let from = 0; from < customers; from += AT_ONCE) {
    const some = Array.from({ length: Math.min(AT_ONCE, customers - from) }, (_, i) => from + i)
    await Promise.all(
      some.map((rank) => {
        const body = { timeZone: TIME_ZONE, limits: limitsOf(rank) }
        return send(api, `PUT /v1/customers/${customerName(rank)}/limits`, body)
      })
    )
  }
}

function limitsOf(rank: number): readonly object[] {
  const month = limit('month', { window: { kind: 'month' }, max: MONTH_MAX })
  const tight = limit('day', { window: { kind: 'day' }, max: TIGHT_MAX })
  const many = [
    limit('each-user-day', { scope: { kind: 'each-user' }, window: { kind: 'day' }, max: MONTH_MAX }),
    limit('model-day', { scope: { kind: 'model', model: 'gpt-5.1' }, window: { kind: 'day' }, max: MONTH_MAX }),
    limit('rolling-3h', { window: { kind: 'rolling', hours: 3 }, max: MONTH_MAX, mode: 'soft' })
  ]
  return [month, ...(rank % TIGHT_EVERY === 0 ? [tight] : []), ...(rank % MANY_EVERY === 0 ? many : [])]
}
