// Each rule of .dependency-cruiser.mjs is shown to fail: one small tree holds a breach of each beside what is allowed,
// and the report must name exactly the breaches. A rule that stops matching, or matches too much, changes that list.

import { mkdir, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import t from 'tap'
import { findBorderBreaches } from './borders.ts'

interface PlantedFile {
  readonly file: string
  /** What the file imports, or whole statements where the form of the import matters. */
  readonly imports: readonly string[]
  readonly breaks?: readonly string[]
}

const PACKAGES = [
  'ioredis',
  'kafkajs',
  '@clickhouse/client',
  'slonik',
  'pg',
  'fastify',
  '@fastify/cors',
  'bullmq',
  'stripe',
  'pdfkit',
  'pino',
  'temporal-polyfill'
]
const DEVELOPMENT_PACKAGES = ['chdb']

const DRIVERS: readonly { readonly home: string; readonly driver: string }[] = [
  { home: 'meter', driver: 'ioredis' },
  { home: 'ingest', driver: 'kafkajs' },
  { home: 'clickhouse', driver: '@clickhouse/client' },
  { home: 'sql', driver: 'slonik' },
  { home: 'sql', driver: 'pg' },
  { home: 'api', driver: 'fastify' },
  { home: 'api', driver: '@fastify/cors' },
  { home: 'api', driver: 'pdfkit' },
  { home: 'billing-job', driver: 'bullmq' },
  { home: 'payments', driver: 'stripe' }
]

const ALLOWED: readonly PlantedFile[] = [
  { file: 'domain/ports.ts', imports: ['./tokens/window.ts', 'node:crypto'] },
  { file: 'domain/tokens/window.ts', imports: ['temporal-polyfill', '../billing/price.ts'] },
  { file: 'domain/billing/price.ts', imports: [] },
  { file: 'domain/billing/price.test.ts', imports: ['./price.ts', '../../sql/store.ts', 'node:fs', 'pg'] },
  { file: 'meter/meter.ts', imports: ['../domain/ports.ts', './keys.ts', 'ioredis', 'node:fs'] },
  { file: 'meter/keys.ts', imports: [] },
  { file: 'sql/store.ts', imports: ['../domain/ports.ts', 'pg', 'slonik'] },
  { file: 'clickhouse/usage-log.ts', imports: ['../domain/ports.ts', '@clickhouse/client'] },
  { file: 'payments/provider.ts', imports: ['../domain/ports.ts', 'stripe'] },
  { file: 'monitoring/logger.ts', imports: ['pino', '../domain/ports.ts'] },
  { file: 'ingest/consumer.ts', imports: ['../domain/ports.ts', '../monitoring/logger.ts', 'kafkajs'] },
  { file: 'ingest/main.ts', imports: ['./consumer.ts', '../meter/meter.ts', '../sql/store.ts'] },
  { file: 'ingest/dead-letters-command.ts', imports: ['../sql/store.ts', './consumer.ts'] },
  { file: 'api/app.ts', imports: ['../domain/ports.ts', 'fastify', '@fastify/cors', 'pdfkit'] },
  { file: 'api/main.ts', imports: ['./app.ts', '../ingest/consumer.ts', '../clickhouse/usage-log.ts'] },
  { file: 'billing-job/close-period.ts', imports: ['../domain/ports.ts', 'bullmq'] },
  { file: 'stack/start.ts', imports: ['../api/main.ts', '../test/wait.ts', 'chdb', 'ioredis', 'kafkajs'] },
  { file: 'test/wait.ts', imports: ['../sql/store.ts', '../bench/load.ts'] },
  { file: 'bench/load.ts', imports: ['../meter/meter.ts', 'kafkajs'] }
]

const PLANTED: readonly PlantedFile[] = [
  { file: 'domain/reads-sql.ts', imports: ['../sql/store.ts'], breaks: ['domain-imports-only-domain'] },
  { file: 'domain/logs.ts', imports: ['pino'], breaks: ['domain-imports-only-domain'] },
  { file: 'domain/zoned.ts', imports: ['temporal-polyfill'], breaks: ['domain-imports-only-domain'] },
  { file: 'domain/tokens/logs.ts', imports: ['pino'], breaks: ['domain-tokens-imports-only-domain'] },
  { file: 'domain/opens-file.ts', imports: ['node:fs/promises'], breaks: ['domain-does-no-input-or-output'] },
  { file: 'meter/reads-sql.ts', imports: ['../sql/store.ts'], breaks: ['adapters-import-only-domain'] },
  { file: 'sql/logs.ts', imports: ['../monitoring/logger.ts'], breaks: ['adapters-import-only-domain'] },
  { file: 'clickhouse/asks-api.ts', imports: ['../api/app.ts'], breaks: ['adapters-import-only-domain'] },
  { file: 'payments/looks-up.ts', imports: ['../sql/store.ts'], breaks: ['adapters-import-only-domain'] },
  { file: 'ingest/counts.ts', imports: ['../meter/meter.ts'], breaks: ['processes-import-no-adapter-and-no-process'] },
  {
    file: 'billing-job/charges.ts',
    imports: ['../payments/provider.ts'],
    breaks: ['processes-import-no-adapter-and-no-process']
  },
  {
    file: 'api/asks-ingest.ts',
    imports: ['../ingest/consumer.ts'],
    breaks: ['processes-import-no-adapter-and-no-process']
  },
  {
    file: 'billing-job/knows-a-type.ts',
    imports: [`import type { name } from '../sql/store.ts'`],
    breaks: ['processes-import-no-adapter-and-no-process']
  },
  { file: 'monitoring/watches.ts', imports: ['../meter/meter.ts'], breaks: ['monitoring-imports-only-domain'] },
  { file: 'ingest/starts.ts', imports: ['./main.ts'], breaks: ['nothing-imports-an-entry'] },
  { file: 'api/waits.ts', imports: ['../test/wait.ts'], breaks: ['nothing-imports-scaffolding'] },
  { file: 'billing-job/main.ts', imports: ['../stack/start.ts'], breaks: ['nothing-imports-scaffolding'] },
  { file: 'test/borrows.test.ts', imports: ['../domain/billing/price.test.ts'], breaks: ['nothing-imports-a-test'] },
  { file: 'sql/embeds.ts', imports: ['chdb'], breaks: ['services-run-without-development-packages'] },
  { file: 'sql/misspelt.ts', imports: ['./stroe.ts'], breaks: ['imports-resolve'] },
  // A cycle is reported once, where the cruise closes it.
  { file: 'domain/hen.ts', imports: ['./egg.ts'] },
  { file: 'domain/egg.ts', imports: [`import type { name } from './hen.ts'`], breaks: ['no-cycles'] },
  ...DRIVERS.map(({ home, driver }) => ({
    file: `monitoring/takes-${driver.replaceAll(/\W/g, '-')}.ts`,
    imports: [driver],
    breaks: [`${home}-is-the-one-home-of-its-driver`]
  })),
  {
    file: 'sql/main.ts',
    imports: ['ioredis', `import type { name } from 'kafkajs'`],
    breaks: ['meter-is-the-one-home-of-its-driver', 'ingest-is-the-one-home-of-its-driver']
  }
]

async function plant(root: string, files: readonly PlantedFile[]): Promise<void> {
  for (const { file, imports } of files) {
    const lines = imports.map((what) => (what.startsWith('import ') ? what : `import '${what}'`))
    await write(join(root, file), [...lines, 'export const name = 1', ''].join('\n'))
  }
  const versions = (names: readonly string[]) => Object.fromEntries(names.map((name) => [name, '1.0.0']))
  const manifest = { type: 'module', dependencies: versions(PACKAGES), devDependencies: versions(DEVELOPMENT_PACKAGES) }
  await write(join(root, 'package.json'), JSON.stringify(manifest))
  for (const name of [...PACKAGES, ...DEVELOPMENT_PACKAGES]) {
    const folder = join(root, 'node_modules', name)
    await write(join(folder, 'package.json'), JSON.stringify({ name, version: '1.0.0', main: 'main.js' }))
    await write(join(folder, 'main.js'), '')
  }
}

async function write(file: string, text: string): Promise<void> {
  await mkdir(dirname(file), { recursive: true })
  await writeFile(file, text)
}

t.test('a tree that keeps the borders is reported without a breach', async (t) => {
  const root = t.testdir()
  await plant(root, ALLOWED)
  const { moduleCount, breaches } = await findBorderBreaches(root)
  t.same(breaches, [])
  t.equal(moduleCount, ALLOWED.length)
})

t.test('each planted breach is found by the rule meant for it, and by no other', async (t) => {
  const root = t.testdir()
  await plant(root, [...ALLOWED, ...PLANTED])
  const { breaches } = await findBorderBreaches(root)
  const expected = PLANTED.flatMap(({ file, breaks = [] }) => breaks.map((rule) => `${file} breaks ${rule}`))
  t.same(breaches.map(({ from, rule }) => `${from} breaks ${rule}`).toSorted(), expected.toSorted())
})
