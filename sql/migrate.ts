// Brings a database to the newest schema. Every process may call it at its start: the first one in applies what is
// missing, the others wait for its lock and find nothing to do.

import { join } from 'node:path'
import { runner } from 'node-pg-migrate'
import { translatePostgresError } from './translate-error.ts'

const MIGRATIONS_FOLDER = join(import.meta.dirname, 'migrations')

/** Patience at a start: nothing else waits for this connection. */
const CONNECT_TIMEOUT_MS = 10_000
/** Longest wait for another process's migration, and for each lock that a statement of ours needs. */
const LOCK_TIMEOUT_MS = 60_000

/** Applies the migrations that are missing, all or none. Tells of each one applied, on stderr unless told otherwise. */
export async function migrate(databaseUrl: string, tell: (line: string) => void = tellOnStderr): Promise<void> {
  const mishaps: string[] = []
  try {
    const applied = await runner({
      databaseUrl: {
        connectionString: databaseUrl,
        connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
        application_name: 'tokenmeter-migrate',
        lock_timeout: LOCK_TIMEOUT_MS
      },
      dir: MIGRATIONS_FOLDER,
      ignorePattern: String.raw`.*(?<!\.sql)`,
      direction: 'up',
      migrationsTable: 'schema_migration',
      advisoryLockMode: 'wait',
      singleTransaction: true,
      logger: { info: ignoreProgress, warn: (line) => mishaps.push(line), error: (line) => mishaps.push(line) }
    })
    for (const { name } of applied) tell(`migration ${name} applied`)
  } catch (error) {
    for (const mishap of mishaps) tell(mishap)
    throw translatePostgresError('migrate the database', error)
  }
}

/** The runner narrates each run, also one that finds nothing to do; what was applied is told from its answer. */
function ignoreProgress(): undefined {
  return undefined
}

function tellOnStderr(line: string): void {
  process.stderr.write(`${line}\n`)
}
