import t from 'tap'
import { RetryableError } from '../domain/errors.ts'
import type { CompiledLimits, CustomerLimits } from '../domain/tokens/limit.ts'
import { NOW } from './ports-in-memory.ts'
import { renewDue } from './renew-limits.ts'

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

function renewalOf(due: readonly CustomerLimits[], setLimits: (limits: CompiledLimits) => void) {
  const renewals: unknown[] = []
  const limitStore = {
    find: async () => null,
    put: async () => null,
    takeDue: async () => due,
    setRenewal: async (customerId: string, version: number, renewAt: number) => {
      renewals.push([customerId, version, renewAt > NOW])
    }
  }
  const limitMeter = { setLimits: async (limits: CompiledLimits) => setLimits(limits) }
  return { renewals, dependencies: { limitStore, limitMeter, now: () => NOW } }
}

t.test('each customer that is due is set in the meter, and only then due later', async (t) => {
  const set: string[] = []
  const { renewals, dependencies } = renewalOf([customer('a'), customer('b')], ({ customerId }) => set.push(customerId))
  t.equal(await renewDue(dependencies, () => false), 2)
  t.same(set, ['a', 'b'])
  t.same(renewals, [
    ['a', 3, true],
    ['b', 3, true]
  ])
})

t.test('a customer the meter could not take stays due, as do those after it', async (t) => {
  const { renewals, dependencies } = renewalOf([customer('a'), customer('b'), customer('c')], ({ customerId }) => {
    if (customerId === 'b') throw new RetryableError('meter-unavailable', 'Redis is away')
  })
  await t.rejects(
    renewDue(dependencies, () => false),
    { code: 'meter-unavailable' }
  )
  t.same(renewals, [['a', 3, true]])
})

t.test('a renewal that is told to stop leaves the rest to others', async (t) => {
  const { renewals, dependencies } = renewalOf([customer('a')], () => undefined)
  t.equal(await renewDue(dependencies, () => true), 0)
  t.same(renewals, [])
})
