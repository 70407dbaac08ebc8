// A migrated ClickHouse database of one's own for a test file, dropped when the test is over.

import { randomBytes } from 'node:crypto'
import type { ClickHouseClient } from '@clickhouse/client'
import { connectClickHouse } from '../clickhouse/connect.ts'
import { migrate } from '../clickhouse/migrate.ts'
import { serviceUrl } from '../stack/service-urls.ts'

interface Teardown {
  teardown(handler: () => Promise<void>): void
}

export interface ClickHouseDatabase {
  readonly url: string
  readonly database: string
  readonly client: ClickHouseClient
}

export async function freshClickHouse(t: Teardown): Promise<ClickHouseDatabase> {
  const database = emptyClickHouse(t)
  await migrate(database.url, database.database)
  return database
}

/** Without tables, and not even made yet: for what tests the migrations themselves. */
export function emptyClickHouse(t: Teardown): ClickHouseDatabase {
  const url = serviceUrl('CLICKHOUSE_URL')
  const database = `test_${process.pid}_${randomBytes(4).toString('hex')}`
  const client = connectClickHouse({ url, database })
  t.teardown(async () => {
    const server = connectClickHouse({ url, database: 'default' })
    await server.command({ query: 'drop database if exists {database:Identifier}', query_params: { database } })
    await server.close()
    await client.close()
  })
  return { url, database, client }
}
