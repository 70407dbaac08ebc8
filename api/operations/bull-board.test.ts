import { randomUUIDv7 } from 'node:crypto'
import { chromium } from 'playwright-core'
import t from 'tap'
import { askForRun, openBillingQueue } from '../../billing-job/queues.ts'
import { billingRedisUrl, serviceUrl } from '../../stack/service-urls.ts'
import { startCustomerService } from '../../test/customer-service.ts'
import { addCustomer, addKey } from '../../test/plans-and-customers.ts'
import { API_KEY } from '../ports-in-memory.ts'
import { BOARD_PREFIX } from './bull-board.ts'

const BROWSER = '/usr/bin/chromium'
/** As root in a container; and no talk with the outside, which a test machine may not reach. */
const BROWSER_OPTIONS = [
  '--no-sandbox',
  '--disable-gpu',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-sync'
]

const queue = openBillingQueue(
  { redisUrl: billingRedisUrl(serviceUrl('REDIS_URL')), prefix: `test-${randomUUIDv7()}` },
  (error) => {
    throw error
  }
)
const service = await startCustomerService(t, {}, { jobQueues: [queue] })
t.teardown(async () => {
  await queue.obliterate({ force: true })
  await queue.close()
})
const { app } = service
const PLATFORM = { 'x-api-key': API_KEY }
const basic = (password: string) => ({ authorization: `Basic ${Buffer.from(`ops:${password}`).toString('base64')}` })
const routes = app.routeTable.filter(({ url }) => url.startsWith(BOARD_PREFIX))

t.test("no route of the board opens without a credential, or with a customer's", async (t) => {
  const { id } = await addCustomer(service)
  const key = await addKey(service, id)
  t.ok(routes.length > 30, `${routes.length} routes`)
  for (const { method, url: pattern } of routes) {
    for (const one of [method].flat()) {
      if (one === 'OPTIONS') continue
      const url = pattern.replaceAll(/:\w+/g, 'billing').replace('*', 'js/main.js')
      const ask = { method: one as 'GET', url }
      t.equal((await app.inject(ask)).statusCode, 401, `${one} ${url}, nobody`)
      t.equal((await app.inject({ ...ask, headers: key })).statusCode, 403, `${one} ${url}, customer`)
      t.equal((await app.inject({ ...ask, headers: basic('no-such-key') })).statusCode, 401, `${one} ${url}, guess`)
    }
  }
})

t.test('a browser is asked for the key, and may send it as a password, here and nowhere else', async (t) => {
  const asked = await app.inject(`${BOARD_PREFIX}/`)
  t.match(asked.headers, {
    'www-authenticate': /^Basic realm="tokenmeter"/,
    'content-type': /^application\/problem\+json/
  })
  t.match(asked.headers['content-security-policy'], /^default-src 'none';frame-ancestors 'none'$/)
  t.equal((await app.inject({ url: `${BOARD_PREFIX}/`, headers: basic(API_KEY) })).statusCode, 200)
  t.equal(
    (await app.inject({ url: `${BOARD_PREFIX}/`, headers: { authorization: `Bearer ${API_KEY}` } })).statusCode,
    200
  )
  const elsewhere = await app.inject({ url: '/v1/customers', headers: basic(API_KEY) })
  t.equal(elsewhere.statusCode, 401)
  t.match(elsewhere.headers, { 'www-authenticate': /^Bearer/ })
})

t.test('the board lists the queue and its jobs; its own policy holds under its prefix alone', async (t) => {
  const jobId = await askForRun(queue, null)
  const page = await app.inject({ url: `${BOARD_PREFIX}/`, headers: PLATFORM })
  t.match(page.payload, '<title>tokenmeter</title>')
  t.match(page.headers['content-security-policy'], "script-src 'self';")
  const script = /src="(static\/js\/main[^"]+)"/.exec(page.payload)?.[1]
  t.equal((await app.inject({ url: `${BOARD_PREFIX}/${script}`, headers: PLATFORM })).statusCode, 200)
  const told = await app.inject({
    url: `${BOARD_PREFIX}/api/queues?activeQueue=billing&status=latest`,
    headers: PLATFORM
  })
  t.match(told.json(), { queues: [{ name: 'billing', counts: { waiting: 1 }, jobs: [{ id: jobId, name: 'run' }] }] })
  t.notMatch((await app.inject('/livez')).headers['content-security-policy'], 'script-src')
  t.notMatch((await app.inject('/openapi.json')).payload, BOARD_PREFIX, 'it is no part of the described API')
})

t.test('what another site has a browser ask for changes nothing', async (t) => {
  const pause = { method: 'PUT', url: `${BOARD_PREFIX}/api/queues/billing/pause` } as const
  for (const site of ['cross-site', 'same-site', 'none']) {
    const headers = { ...basic(API_KEY), 'sec-fetch-site': site }
    t.equal((await app.inject({ ...pause, headers })).statusCode, 403, site)
  }
  t.equal(await queue.isPaused(), false)
  const own = await app.inject({ ...pause, headers: { ...basic(API_KEY), 'sec-fetch-site': 'same-origin' } })
  t.equal(own.statusCode, 200)
  t.equal(await queue.isPaused(), true)
  await queue.resume()
})

t.test('a browser that was given the key shows the queue, and asks no other host', async (t) => {
  const url = await app.listen({ host: '127.0.0.1', port: 0 })
  const browser = await chromium.launch({ executablePath: BROWSER, args: BROWSER_OPTIONS })
  t.teardown(() => browser.close())
  const context = await browser.newContext({ httpCredentials: { username: 'ops', password: API_KEY } })
  const page = await context.newPage()
  const answered: string[] = []
  page.on('response', (response) => answered.push(new URL(response.url()).origin))
  const faults: string[] = []
  page.on('pageerror', (error) => faults.push(error.message))
  await page.goto(`${url}${BOARD_PREFIX}/queue/billing`)
  await page.getByText('run', { exact: true }).first().waitFor({ timeout: 20_000 })
  t.same([...new Set(answered)], [url])
  t.same(faults, [])
})
