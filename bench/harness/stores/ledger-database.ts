/** A database of one's own on the real Postgres, migrated as the product's, for sides that write to it from the bench's own process. */
import { randomBytes } from 'node:crypto'
import { Database } from '../../../sql/connect.ts'
import { migrate } from '../../../sql/migrate.ts'

export interface LedgerDatabase extends AsyncDisposable {
  /** As its owner, for tables of other designs and for emptying. */
  readonly owner: Database
  /** As the consumers use it. */
  readonly pipeline: Database
}

/** `connectionsMax`: of the owner's and the consumers' pool each. Disposing of it drops the database. */
export async function makeLedgerDatabase(databaseUrl: string, connectionsMax: number): Promise<LedgerDatabase> {
  await using opened = new AsyncDisposableStack()
  const name = `bench_${randomBytes(4).toString('hex')}`
  const address = { databaseUrl, applicationName: 'tokenmeter-bench', connectionsMax }
  const server = new Database({ ...address, connectionsMax: 1, role: 'login' })
  opened.defer(() => server.close())
  await server.query('make the database of a scenario', { text: `create database ${name}` })
  opened.defer(async () => {
    await server.query('drop the database of a scenario', { text: `drop database ${name} with (force)` })
  })
  const url = new URL(databaseUrl)
  url.pathname = `/${name}`
  await migrate(url.href, () => undefined)
  const owner = new Database({ ...address, databaseUrl: url.href, role: 'login' })
  opened.defer(() => owner.close())
  const pipeline = new Database({ ...address, databaseUrl: url.href })
  opened.defer(() => pipeline.close())
  const kept = opened.move()
  return { owner, pipeline, [Symbol.asyncDispose]: () => kept.disposeAsync() }
}
