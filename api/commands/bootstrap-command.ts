/**
 * `npm run bootstrap -- --name NAME`: makes the first API key of the platform, with every scope, and prints it once. With it all
 * other keys are made over the API.
 */
import { randomUUIDv7 } from 'node:crypto'
import { Command } from 'commander'
import { PLATFORM } from '../../domain/change.ts'
import { type ApiKey, hashOf, isLive, makeSecret } from '../../domain/customers/api-key.ts'
import type { ApiKeyStore } from '../../domain/customers/api-key-store.ts'
import { accessVariables } from '../../monitoring/access/config.ts'
import { postgresVariables } from '../../monitoring/config.ts'
import { loadConfig } from '../../monitoring/load-config.ts'
import { EntityDatabase } from '../../sql/connect-slonik.ts'
import { PostgresApiKeyStore } from '../../sql/customers/api-key-store.ts'
import { migrate } from '../../sql/migrate.ts'
import { SCOPES } from '../access/access-rule.ts'
import { tellApiKey } from '../schemas/api-keys.ts'

const APPLICATION = 'tokenmeter-bootstrap'
const PAGE = 200

interface Choice {
  readonly name: string
  readonly force?: boolean
}

export async function runBootstrapCommand(args: readonly string[]): Promise<void> {
  const program = new Command('bootstrap')
    .description('make the first API key of the platform')
    .requiredOption('--name <name>', 'who uses it')
    .option('--force', 'also when the platform has a live key')
    .action(bootstrap)
  await program.parseAsync([...args], { from: 'user' })
}

async function bootstrap({ name, force = false }: Choice): Promise<void> {
  const config = loadConfig([postgresVariables, accessVariables])
  await migrate(config.DATABASE_URL)
  const database = new EntityDatabase({ databaseUrl: config.DATABASE_URL, applicationName: APPLICATION })
  try {
    const store = new PostgresApiKeyStore(database)
    const at = Date.now()
    const live = force ? null : await findLivePlatformKey(store, at)
    if (live !== null) {
      console.error(`the platform has the live key "${live.name}" (${live.id}): make others with it, or say --force`)
      process.exitCode = 1
      return
    }
    console.log(await makeFirstKey(store, { name, environment: config.API_KEY_ENVIRONMENT, at }))
  } finally {
    await database.close()
  }
}

async function findLivePlatformKey(store: ApiKeyStore, at: number): Promise<ApiKey | null> {
  let cursor: string | null = ''
  while (cursor !== null) {
    const page = await store.list(PLATFORM, { customerId: null, cursor, limit: PAGE })
    const live = page.rows.find((key) => key.customerId === null && isLive(key, at))
    if (live !== undefined) return live
    cursor = page.next
  }
  return null
}

async function makeFirstKey(
  store: ApiKeyStore,
  { name, environment, at }: { readonly name: string; readonly environment: string; readonly at: number }
): Promise<string> {
  const secret = makeSecret(environment)
  const key: ApiKey = {
    id: randomUUIDv7(),
    customerId: null,
    name,
    scopes: SCOPES,
    expiresAt: null,
    revokedAt: null,
    replacedBy: null,
    lastUsedAt: null,
    version: 1,
    createdAt: at,
    updatedAt: at
  }
  const audit = {
    id: randomUUIDv7(),
    customerId: null,
    actor: { kind: 'service', id: APPLICATION, address: null, requestId: null },
    action: 'api-key.created',
    entity: { kind: 'api-key', id: key.id },
    before: null,
    after: tellApiKey(key),
    at
  } as const
  await store.insert({ key, hash: hashOf(secret) }, { reach: PLATFORM, audit: [audit], events: [], request: null })
  return secret
}
