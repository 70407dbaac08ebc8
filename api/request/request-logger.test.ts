import type { FastifyBaseLogger } from 'fastify'
import { pino } from 'pino'
import t from 'tap'
import { RequestLogger } from './request-logger.ts'

function start(level: string) {
  const lines: string[] = []
  const parent = pino({ level, base: null, timestamp: false }, { write: (line: string) => lines.push(line) })
  let made = 0
  const counted: FastifyBaseLogger = Object.assign(Object.create(parent), {
    child: (...child: Parameters<FastifyBaseLogger['child']>) => {
      made += 1
      return parent.child(...child)
    }
  })
  return { parent: counted, told: () => lines.map((line): unknown => JSON.parse(line)), made: () => made }
}

t.test('each line of a request has its id, and one logger is made for all of them, by the first', async (t) => {
  const { parent, told, made } = start('trace')
  const logger = new RequestLogger(parent, { reqId: 'r-1' }, {})
  t.equal(made(), 0)
  logger.warn({ code: 'x' }, 'away for %d s', 3)
  logger.info('one')
  for (const level of ['fatal', 'error', 'debug', 'trace'] as const) logger[level]('more')
  logger.child({ part: 'p' }).info('of a part')
  t.equal(made(), 1)
  t.same(told(), [
    { level: 40, reqId: 'r-1', code: 'x', msg: 'away for 3 s' },
    { level: 30, reqId: 'r-1', msg: 'one' },
    { level: 60, reqId: 'r-1', msg: 'more' },
    { level: 50, reqId: 'r-1', msg: 'more' },
    { level: 20, reqId: 'r-1', msg: 'more' },
    { level: 10, reqId: 'r-1', msg: 'more' },
    { level: 30, reqId: 'r-1', part: 'p', msg: 'of a part' }
  ])
})

t.test('a route may be quieter than the process', async (t) => {
  const { parent, told } = start('debug')
  const logger = new RequestLogger(parent, { reqId: 'r-1' }, { level: 'warn' })
  t.equal(logger.level, 'warn')
  logger.info('not told')
  logger.silent('not told either')
  t.same(told(), [])
  logger.level = 'info'
  logger.info('told')
  t.match(told(), [{ msg: 'told' }])
})
