/** An installation in which a month can be billed: with what the gate needs besides stores, a meter that knows and analytics that has caught up. */
import { connectClickHouse } from '../../clickhouse/connect.ts'
import { Database, LONG_STATEMENT_TIMEOUT_MS } from '../../sql/connect.ts'
import { makeInstallation } from '../../stack/installation/make-installation.ts'
import { planProcesses } from '../../stack/processes.ts'
import type { ServiceUrls } from '../../stack/services.ts'
import { Supervisor } from '../../stack/supervisor.ts'
import type { BilledStores } from './write-customers.ts'

export interface BilledInstallation extends BilledStores {
  readonly environment: Readonly<Record<string, string>>
  /** Stops its consumers and removes all of it. */
  readonly close: () => Promise<void>
}

export async function openBilledInstallation(urls: ServiceUrls): Promise<BilledInstallation> {
  const { environment, remove } = await makeInstallation(urls, 'bench')
  const closing: (() => Promise<void>)[] = [remove]
  const close = async (): Promise<void> => {
    for (const step of closing.splice(0).reverse()) await step()
  }
  try {
    const { definitions } = await planProcesses(urls, environment)
    const consumers = definitions.filter(({ name }) => name === 'meter' || name === 'analytics')
    const supervisor = new Supervisor({ definitions: consumers, onLine: () => undefined })
    closing.push(() => supervisor.stopAll())
    for (const { name } of consumers) supervisor.start(name)
    await Promise.all(consumers.map(({ name }) => supervisor.waitReady(name)))
    const { DATABASE_URL: databaseUrl = '', CLICKHOUSE_URL: url = '', CLICKHOUSE_DATABASE: name = '' } = environment
    const database = new Database({
      databaseUrl,
      applicationName: 'tokenmeter-bench',
      role: 'login',
      statementTimeoutMs: LONG_STATEMENT_TIMEOUT_MS
    })
    closing.push(() => database.close())
    const clickhouse = connectClickHouse({ url, database: name })
    closing.push(() => clickhouse.close())
    return { environment, database, clickhouse, close }
  } catch (error) {
    await close()
    throw error
  }
}
