// `npm run seal-migrations`: writes down the checksum of each new migration, after which it must not change.
// What is sealed stays as it was; test/tidy.test.ts names a sealed file that was edited or removed.

import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { ROOT, readSourceFiles } from './source-files.ts'
import { checksumOf } from './tidy-rules.ts'

const migrations = readSourceFiles().filter(({ path }) => path.includes('/migrations/') && path.endsWith('.sql'))

for (const folder of new Set(migrations.map(({ path }) => dirname(path)))) {
  const list = join(ROOT, folder, 'checksums.json')
  const sealed: Record<string, string> = existsSync(list) ? JSON.parse(readFileSync(list, 'utf8')) : {}
  for (const { path, text } of migrations.filter((migration) => dirname(migration.path) === folder)) {
    if (sealed[basename(path)] !== undefined) continue
    sealed[basename(path)] = checksumOf(text)
    console.log(`sealed ${path}`)
  }
  const sorted = Object.fromEntries(Object.entries(sealed).toSorted(([a], [b]) => (a < b ? -1 : 1)))
  writeFileSync(list, `${JSON.stringify(sorted, undefined, 2)}\n`)
}
