/**
 * `npm start`: services, migrations, then all of our processes with one log. Ctrl-C ends it all in order. `npm run start:dev` does the
 * same and starts a process again when a file that it imports changes.
 */
import { migrate as migrateClickHouse } from '../../clickhouse/migrate.ts'
import { migrate as migratePostgres } from '../../sql/migrate.ts'
import { createProgress } from '../machine/progress.ts'
import { planProcesses } from '../processes.ts'
import { startServices } from '../services.ts'
import { Supervisor } from '../supervisor.ts'
import { createProcessLog } from './process-log.ts'

const progress = createProgress()
const stopAsked = new Promise<string>((resolve) => {
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => resolve(signal))
})
const services = await startServices({ onProgress: progress })
try {
  await migratePostgres(services.urls.DATABASE_URL, (line) => progress(`postgres: ${line}`))
  const database = process.env.CLICKHOUSE_DATABASE || 'tokenmeter'
  for (const name of await migrateClickHouse(services.urls.CLICKHOUSE_URL, database)) {
    progress(`clickhouse: migration ${name} applied`)
  }
  await runProcesses()
} finally {
  await services.stop()
}

async function runProcesses(): Promise<void> {
  const { definitions, apiUrl, apiKey } = await planProcesses(services.urls)
  const names = definitions.map(({ name }) => name)
  const supervisor = new Supervisor({
    definitions,
    watches: process.argv.includes('--watch'),
    onLine: createProcessLog(names, (text) => process.stdout.write(text))
  })
  try {
    for (const name of names) supervisor.start(name)
    const isReady = Promise.all(names.map((name) => supervisor.waitReady(name)))
    const signal = await Promise.race([stopAsked, isReady.then(() => null)])
    if (signal === null) {
      progress(`ready: API ${apiUrl}, its description ${apiUrl}/docs; Ctrl-C stops everything`)
      if (apiKey !== null) progress(`try: curl -H 'x-api-key: ${apiKey}' ${apiUrl}/v1/customers/acme/balance`)
      progress(`processes: ${names.map((name) => `${name} ${supervisor.pidOf(name)}`).join(', ')}`)
    }
    progress(`${signal ?? (await stopAsked)}: stopping`)
  } finally {
    await supervisor.stopAll()
  }
}
