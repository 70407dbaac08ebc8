import t from 'tap'
import { createLogger } from './logger.ts'

function logged(log: (logger: ReturnType<typeof createLogger>) => void, level = 'info'): string[] {
  const lines: string[] = []
  log(createLogger({ name: 'ingest', level, destination: { write: (line) => void lines.push(line) } }))
  return lines
}

t.test('a line is JSON with process, level by name, time and message', async (t) => {
  const [line = ''] = logged((logger) => logger.warn({ partition: 3 }, 'waits'))
  t.match(JSON.parse(line), { process: 'ingest', level: 'warn', partition: 3, msg: 'waits', time: /^\d{4}-.+Z$/ })
})

t.test('lines below the level are not written', async (t) => {
  t.equal(logged((logger) => logger.debug('no'), 'info').length, 0)
  t.equal(logged((logger) => logger.debug('yes'), 'debug').length, 1)
})

t.test('no secret is written, whichever way it comes', async (t) => {
  const secret = 'canary-7f3a'
  const lines = logged((logger) => {
    logger.info({ password: secret, headers: { authorization: `Bearer ${secret}` } }, 'fields')
    logger.info({ config: { DATABASE_URL: secret, API_KEYS: secret, KAFKA_SASL_PASSWORD: secret } }, 'a configuration')
    logger.error({ err: new Error(`connect postgresql://tm:${secret}@db:5432/x failed`) }, 'an error')
    logger.error(new Error('outer', { cause: new Error(`redis://:${secret}@r`) }), `tried rediss://u:${secret}@r:1`)
    logger.warn(`sent Authorization: Bearer ${secret}`)
    logger.child({ url: `http://default:${secret}@c` }).warn('a child')
  })
  t.equal(lines.length, 6)
  for (const line of lines) {
    t.notMatch(line, secret)
    t.match(line, /redacted/)
    t.doesNotThrow(() => JSON.parse(line))
  }
})

t.test('addresses without a password stay as they are', async (t) => {
  const [line] = logged((logger) => logger.info('GET http://a:8080/x?email=b@c and "http://d:1/", e@f'))
  t.match(line, 'GET http://a:8080/x?email=b@c and')
})
