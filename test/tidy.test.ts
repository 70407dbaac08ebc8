// The rules a person shouldn't have to check. Each test shows first that its rule can fail, on an example made for it,
// and then that the repository keeps it.

import t from 'tap'
import { findBorderBreaches } from './borders.ts'
import { ROOT, readSourceFiles } from './source-files.ts'
import {
  checksumOf,
  FILE_LINES_MAX,
  FOLDER_FILES_MAX,
  FUNCTION_LINES_MAX,
  findBannedNames,
  findBareScripts,
  findBrokenLinks,
  findCrowdedFolders,
  findEditedMigrations,
  findEmptyCatches,
  findForcedCasts,
  findLongFiles,
  findLongFunctions,
  findSkippedTests,
  findSleepingTests,
  findUndescribedFolders,
  findUndocumentedVariables,
  findUnfinishedWork,
  type SourceFile
} from './tidy-rules.ts'

interface Guarantee {
  readonly name: string
  readonly rule: (files: readonly SourceFile[]) => string[]
  /** Path → text; the rule finds exactly `faultCount` faults in it. */
  readonly bad: Readonly<Record<string, string>>
  readonly faultCount: number
}

const files = readSourceFiles()

function guarantee({ name, rule, bad, faultCount }: Guarantee): void {
  t.test(name, async (t) => {
    const faults = rule(Object.entries(bad).map(([path, text]) => ({ path, text })))
    t.equal(faults.length, faultCount, 'the rule finds what is wrong with its bad example', { faults })
    t.same(rule(files), [])
  })
}

guarantee({
  name: `no file is longer than ${FILE_LINES_MAX} lines`,
  rule: findLongFiles,
  bad: { 'a.ts': 'a\n'.repeat(FILE_LINES_MAX + 1), 'b.ts': 'b\n'.repeat(FILE_LINES_MAX), 'c.md': 'c\n'.repeat(999) },
  faultCount: 1
})

guarantee({
  name: `no function is longer than ${FUNCTION_LINES_MAX} lines`,
  rule: findLongFunctions,
  bad: {
    'a.ts': `class A {\n  run() {\n${'    go()\n'.repeat(FUNCTION_LINES_MAX - 1)}  }\n}\n`,
    'b.ts': `const run = () => {\n${'  go()\n'.repeat(FUNCTION_LINES_MAX - 2)}}\n`
  },
  faultCount: 1
})

guarantee({
  name: 'every file and folder is named after what is inside',
  rule: findBannedNames,
  bad: {
    'api/utils/a.ts': '',
    'api/http-helper.test.ts': '',
    'api/index.ts': '',
    'api/data.ts': '',
    'api/base-64.ts': '',
    'clickhouse/stored-data.ts': ''
  },
  faultCount: 5
})

guarantee({
  name: 'every folder with code is on the map and has a README',
  rule: findUndescribedFolders,
  bad: { 'meter/a.ts': '', 'lib/a.ts': '', 'lib/README.md': '', 'sql/a.sql': '', 'sql/README.md': '', 'docs/a.md': '' },
  faultCount: 2
})

guarantee({
  name: `no folder holds more than ${FOLDER_FILES_MAX} files of its own`,
  rule: findCrowdedFolders,
  bad: Object.fromEntries(
    Array.from({ length: FOLDER_FILES_MAX + 1 }, (_, i) => i).flatMap((i) => [
      [`api/${i}.ts`, ''],
      [`meter/${i}.test.ts`, ''],
      [`sql/migrations/${i}.sql`, '']
    ])
  ),
  faultCount: 1
})

guarantee({
  name: 'every environment variable the code reads is in .env.example, and no other',
  rule: findUndocumentedVariables,
  bad: {
    '.env.example': 'KAFKA_BROKERS=localhost:9092\n# METER_SHARDS=1\nFORGOTTEN_SWITCH=1\n',
    'ingest/config.ts':
      'Type.Object({ KAFKA_BROKERS: Type.String(), METER_SHARDS: Type.Integer(), BATCH_SIZE_MAX: Type.Integer() })',
    'stack/start.mjs': `const url = process.env.REDIS_URL ?? env['JOBS_REDIS_URL']; const { CI, DATABASE_URL = '' } = process.env`
  },
  faultCount: 5
})

guarantee({
  name: 'every Lua script starts with #!lua and names its KEYS, its ARGV and what it returns',
  rule: findBareScripts,
  bad: {
    'meter/bare.lua': 'return KEYS[1]',
    'meter/good.lua': '#!lua\n-- Holds.\n-- KEYS 1 the hold\n-- ARGV 1 the amount\n-- Returns 1\nreturn 1\n'
  },
  faultCount: 4
})

guarantee({
  name: 'no migration changes after it was sealed',
  rule: findEditedMigrations,
  bad: {
    'sql/migrations/0001_kept.sql': 'select 1;',
    'sql/migrations/0002_edited.sql': 'select 2;',
    'sql/migrations/0004_new.sql': 'select 4;',
    'sql/migrations/checksums.json': JSON.stringify({
      '0001_kept.sql': checksumOf('select 1;'),
      '0002_edited.sql': checksumOf('select 1 + 1;'),
      '0003_removed.sql': checksumOf('select 3;')
    })
  },
  faultCount: 3
})

guarantee({
  name: 'every test runs',
  rule: findSkippedTests,
  bad: {
    'a.test.ts': `t.skip('a'); t.todo('b'); t.test('c', { skip: true }, run); t.test('d', { timeout: 1 }, run); say('t.skip()')`,
    'b.ts': 'rows.skip(1)'
  },
  faultCount: 3
})

guarantee({
  name: 'no error is swallowed',
  rule: findEmptyCatches,
  bad: {
    'a.ts': 'try { go() } catch { /* fine */ }\nstop().catch(() => {})\nstop().catch(() => undefined)',
    'b.ts': 'try { go() } catch (error) { report(error) }\nstop().catch((error) => report(error))'
  },
  faultCount: 3
})

guarantee({
  name: 'no test sleeps',
  rule: findSleepingTests,
  bad: {
    'a.test.ts': `await new Promise((resolve) => setTimeout(resolve, 9))`,
    'b.test.ts': `import { setTimeout as wait } from 'node:timers/promises'`,
    'wait.ts': 'setTimeout(check, 10)'
  },
  faultCount: 2
})

guarantee({
  name: 'no type is forced through a double cast',
  rule: findForcedCasts,
  bad: { 'a.ts': 'const a = b as unknown as string', 'b.ts': 'const a = b as string' },
  faultCount: 1
})

guarantee({
  name: 'nothing is marked as unfinished',
  rule: findUnfinishedWork,
  bad: { 'a.ts': `// ${'TO'}${'DO'}: later`, 'b.sql': `-- ${'FIX'}${'ME'}`, 'c.ts': 'const mastodon = 1' },
  faultCount: 2
})

guarantee({
  name: 'every relative link of a document leads to a file or folder of the repository',
  rule: findBrokenLinks,
  bad: {
    'README.md': '[a](docs/a.md#part) [b](docs/) [c](docs/gone.md) [d](https://example.org/) [e](#here)\n`[f](g.md)`',
    'docs/a.md': '[up](../README.md)\n[far](../../outside.md)\n\n```\n[code](h.md)\n```\n'
  },
  faultCount: 2
})

t.test('the repository keeps its borders, and the check has seen its modules', async (t) => {
  const { moduleCount, breaches } = await findBorderBreaches(ROOT)
  t.same(breaches, [])
  t.ok(moduleCount > 0, 'no module was cruised: dependency-cruiser could not load the TypeScript compiler')
})
