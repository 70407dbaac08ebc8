import t from 'tap'
import { isWellFormed } from '../../domain/customers/api-key.ts'
import { startCustomerService } from '../../test/customer-service.ts'
import { runProgram } from '../../test/e2e/run-program.ts'

t.test('the first key of the platform is printed once and opens everything; a second one takes --force', async (t) => {
  const service = await startCustomerService(t)
  const environment = { ...process.env, DATABASE_URL: service.databaseUrl, API_KEY_ENVIRONMENT: 'demo' }
  const bootstrap = (...args: string[]) =>
    runProgram(process.execPath, ['stack/commands/operations/bootstrap.ts', ...args], { environment })
  const first = await bootstrap('--name', 'ops')
  t.match(first, { exitCode: 0, stdout: /^tm_demo_\w+\n$/ })
  const secret = first.stdout.trim()
  t.ok(isWellFormed(secret))
  const headers = { 'x-api-key': secret }
  service.setNow(Date.now())
  t.equal((await service.call('GET /v1/customers', undefined, headers)).status, 200)
  const { id } = (await service.call('GET /v1/api-keys', undefined, headers)).body.data[0]

  const second = await bootstrap('--name', 'ops')
  t.match(second, { exitCode: 1, stdout: '', stderr: new RegExp(`live key "ops" .${id}.*--force`) })
  t.notMatch(second.stderr, secret)
  t.match(await bootstrap('--name', 'spare', '--force'), { exitCode: 0, stdout: /^tm_demo_/ })
  t.match(await bootstrap(), { exitCode: 1, stderr: /--name/ })
})
