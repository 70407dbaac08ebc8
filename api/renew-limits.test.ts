import t from 'tap'
import { RetryableError } from '../domain/errors.ts'
import type { CompiledLimits, CustomerLimits } from '../domain/tokens/limit.ts'
import { NOW } from './ports-in-memory.ts'
import { limitRefresh, renewDue } from './renew-limits.ts'

const customer = (customerId: string): CustomerLimits => ({
  customerId,
  timeZone: 'UTC',
  version: 3,
  limits: [
    {
      id: 'day',
      scope: { kind: 'customer' },
      measure: { kind: 'total' },
      window: { kind: 'day' },
      max: 10,
      mode: 'hard',
      whenUnknown: 'deny'
    }
  ]
})

function renewalOf(
  due: readonly CustomerLimits[],
  setLimits: (limits: CompiledLimits) => void,
  nextAt: number | null = null
) {
  const renewals: [string, number, number][] = []
  const limitStore = {
    takeDue: async () => due.map(({ customerId }) => customerId),
    setRenewal: async (...renewal: [string, number, number]) => {
      renewals.push(renewal)
    }
  }
  const reckoned = (customerId: string) => {
    const effective = due.find((one) => one.customerId === customerId)
    return effective === undefined ? null : { effective, nextAt }
  }
  const now = () => NOW
  const refresh = limitRefresh({
    effectiveLimits: { reckon: async (customerId) => reckoned(customerId) },
    limitMeter: { setLimits: async (limits) => setLimits(limits) },
    limitStore,
    now
  })
  return { renewals, dependencies: { limitStore, limitRefresh: refresh, now } }
}

t.test('each customer that is due is set in the meter, and only then due later', async (t) => {
  const set: string[] = []
  const { renewals, dependencies } = renewalOf([customer('a'), customer('b')], ({ customerId }) => set.push(customerId))
  t.same(await renewDue(dependencies, () => false), { renewed: 2, failed: [] })
  t.same(set, ['a', 'b'])
  t.same(
    renewals.map(([customerId, version, renewAt]) => [customerId, version, renewAt > NOW]),
    [
      ['a', 3, true],
      ['b', 3, true]
    ]
  )
})

t.test('a customer the meter could not take stays due, as do those after it', async (t) => {
  const { renewals, dependencies } = renewalOf([customer('a'), customer('b'), customer('c')], ({ customerId }) => {
    if (customerId === 'b') throw new RetryableError('meter-unavailable', 'Redis is away')
  })
  await t.rejects(
    renewDue(dependencies, () => false),
    { code: 'meter-unavailable' }
  )
  t.match(renewals, [['a', 3, Number]])
  t.equal(renewals.length, 1)
})

t.test('a customer whose limits can not be composed does not keep those after it waiting', async (t) => {
  const defect = new RangeError('no boundary')
  const { renewals, dependencies } = renewalOf([customer('a'), customer('b')], ({ customerId }) => {
    if (customerId === 'a') throw defect
  })
  t.same(await renewDue(dependencies, () => false), { renewed: 1, failed: [{ customerId: 'a', error: defect }] })
  t.match(renewals, [['b', 3, Number]])
})

t.test('a renewal that is told to stop leaves the rest to others', async (t) => {
  const { renewals, dependencies } = renewalOf([customer('a')], () => undefined)
  t.match(await renewDue(dependencies, () => true), { renewed: 0 })
  t.same(renewals, [])
})

t.test('limits that change by themselves are due when they do, before their windows run out', async (t) => {
  const { renewals, dependencies } = renewalOf([customer('a')], () => undefined, NOW + 5_000)
  await renewDue(dependencies, () => false)
  t.same(renewals, [['a', 3, NOW + 5_000]])
})
