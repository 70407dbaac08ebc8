import { chromium } from 'playwright-core'
import t from 'tap'
import { startTestApp } from './ports-in-memory.ts'

const BROWSER = '/usr/bin/chromium'
/** As root in a container; and no talk with the outside, which a test machine may not reach. */
const BROWSER_OPTIONS = [
  '--no-sandbox',
  '--disable-gpu',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-sync'
]

t.test('a browser shows the description of the API, under its own content policy, and opens a route', async (t) => {
  const { app } = await startTestApp()
  t.teardown(() => app.close())
  const url = await app.listen({ host: '127.0.0.1', port: 0 })
  const browser = await chromium.launch({ executablePath: BROWSER, args: BROWSER_OPTIONS })
  t.teardown(() => browser.close())
  const page = await browser.newPage()
  const complaints: string[] = []
  page.on('console', (message) => {
    if (message.type() === 'error') complaints.push(message.text())
  })
  page.on('pageerror', (error) => complaints.push(error.message))
  await page.goto(`${url}/docs`)
  const route = page.locator('.opblock-summary-path', { hasText: '/v1/quota/check' })
  await route.waitFor({ timeout: 20_000 })
  await route.click()
  await page.getByText('customerId').first().waitFor({ timeout: 20_000 })
  t.same(complaints, [], 'the page runs without an error')
})
