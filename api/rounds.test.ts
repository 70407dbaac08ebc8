import type { FastifyBaseLogger } from 'fastify'
import t from 'tap'
import { RetryableError } from '../domain/errors.ts'
import { waitUntil } from '../stack/machine/wait-until.ts'
import { Rounds } from './rounds.ts'

function loggerOf(told: string[]): Pick<FastifyBaseLogger, 'warn' | 'error'> {
  const say =
    (level: string) =>
    (...[, message]: readonly unknown[]): void => {
      told.push(`${level}: ${message}`)
    }
  return { warn: say('warn'), error: say('error') }
}

t.test('a round that fails is told and followed by the next, a store that is away as a warning', async (t) => {
  const told: string[] = []
  const outcomes = [new RetryableError('store-away', 'away'), new Error('a defect'), null]
  let rounds = 0
  const work = async (): Promise<void> => {
    const outcome = outcomes[rounds++]
    if (outcome) throw outcome
  }
  const running = new Rounds({ intervalMs: 1, work, waiting: 'it waits', logger: loggerOf(told) })
  t.teardown(() => running.stop())
  running.start()
  await waitUntil(async () => rounds > 3, { what: 'the rounds', timeoutMs: 5_000, pollIntervalMs: 1 })
  t.same(told, ['warn: it waits', 'error: it waits'])
})

t.test('rounds do not overlap, and stopping waits for the work in hand and begins no other', async (t) => {
  const gate = Promise.withResolvers<void>()
  const events: string[] = []
  const work = async (isStopped: () => boolean): Promise<void> => {
    events.push('begun')
    await gate.promise
    events.push(isStopped() ? 'ended, told to stop' : 'ended')
  }
  const running = new Rounds({ intervalMs: 1, work, waiting: 'it waits', logger: loggerOf(events) })
  running.start()
  await waitUntil(async () => events.length > 0, { what: 'a round', timeoutMs: 5_000, pollIntervalMs: 1 })
  const stopped = running.stop().then(() => events.push('stopped'))
  gate.resolve()
  await stopped
  t.same(events, ['begun', 'ended, told to stop', 'stopped'])
})
