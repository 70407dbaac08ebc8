// Files as spreadsheets and other services export them. What their rows come to: import-customers.test.ts.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import type { ImportPart } from '../../domain/customers/import/customer-import.ts'
import { type ImportMapping, OWN_NAMES, readMapping } from '../../domain/customers/import/import-mapping.ts'
import { SourceFiles } from './source-files.ts'

type Test = Pick<typeof import('tap').t, 'teardown'>

const START = { rows: 0, key: null }

function folderOf(t: Test, files: Readonly<Record<string, string | Uint8Array>>): string {
  const folder = mkdtempSync(join(tmpdir(), 'tokenmeter-import-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text)
  return folder
}

async function read(
  path: string,
  {
    mapping = OWN_NAMES,
    part = 'customers',
    after = START
  }: { mapping?: ImportMapping; part?: ImportPart; after?: typeof START } = {}
) {
  const source = await SourceFiles.open(path, mapping)
  return Array.fromAsync(source.rows(part, after))
}

function mappingOf(file: unknown): ImportMapping {
  const mapping = readMapping(file)
  if ('mapping' in mapping) return mapping.mapping
  throw new Error(JSON.stringify(mapping.faults))
}

t.test('CSV is read with its quotes, its line ends and the separator of its header', async (t) => {
  const row = { externalId: '1', legalName: 'Le "Rabot",\r\nDakar', country: 'SN' }
  for (const separator of [',', ';', '\t']) {
    const text = ['externalId,legalName,country', '1,"Le ""Rabot"",\r\nDakar",SN', '', '2,peu', '3,A,B']
    const folder = folderOf(t, { 'customers.csv': `\ufeff${text.join('\r\n').replaceAll(/,(?!\r)/g, separator)}` })
    t.same(await read(folder), [
      { row: 1, line: 3, key: null, values: row, fault: null },
      { row: 2, line: 5, key: null, values: ['2', 'peu'], fault: 'has 2 cells, the header has 3' },
      { row: 3, line: 6, key: null, values: { externalId: '3', legalName: 'A', country: 'B' }, fault: null }
    ])
    t.match(await read(folder, { after: { rows: 2, key: null } }), [{ row: 3, line: 6 }])
    t.same(await read(folder, { part: 'users' }), [], 'a part without a file has no rows')
  }
})

t.test('JSON Lines are read one by one, and one that is none spoils no other', async (t) => {
  const folder = folderOf(t, { 'users.jsonl': '{"email":"a"}\n\n{"email":\r\n[]\n{"email":"b"}' })
  t.match(await read(folder, { part: 'users' }), [
    { row: 1, line: 1, values: { email: 'a' }, fault: null },
    { row: 2, line: 3, values: '{"email":\r', fault: /is no JSON/ },
    { row: 3, line: 4, values: [], fault: null },
    { row: 4, line: 5, values: { email: 'b' } }
  ])
})

t.test('names are read in the encoding they are written in, or not at all', async (t) => {
  const latin = Buffer.from('externalId,legalName\n4,Société Générale\n', 'latin1')
  const folder = folderOf(t, { 'customers.csv': latin })
  await t.rejects(read(folder), { message: /is not utf-8: the mapping's "encoding"/ })
  const mapping = mappingOf({ encoding: 'windows-1252' })
  t.match(await read(folder, { mapping }), [{ values: { legalName: 'Société Générale' } }])
})

t.test('a file that is not what the mapping says is refused whole, before its first row', async (t) => {
  const csv = 'externalId,legal_name\n1,A\n'
  const refused = async (files: Readonly<Record<string, string>>, message: RegExp, mapping = OWN_NAMES) =>
    t.rejects(read(folderOf(t, files), { mapping }), { message })
  await refused({ 'customers.csv': csv }, /no fields of ours: legal_name/)
  const mapping = mappingOf({ customers: { fields: { externalId: 'externalId', legalName: 'raison' } } })
  await refused({ 'customers.csv': csv }, /header lacks: raison/, mapping)
  await refused({ 'customers.csv': 'externalId,externalId\n' }, /externalId twice/)
  await refused({ 'customers.csv': 'externalId,legalName\n1,"A\n' }, /[Qq]uot/)
  await refused({ 'customers.jsonl': `"${'a'.repeat(1_100_000)}` }, /line 1 is longer than 1048576/)
  await refused({ 'customers.csv': csv, 'customers.jsonl': '' }, /customers twice/)
  await refused({ 'clients.csv': csv }, /holds none of customers/)
  await t.rejects(read(join(folderOf(t, { 'customers.txt': csv }), 'customers.txt')), {
    message: /neither .csv nor .jsonl/
  })
})

t.test('a source is another one as soon as a byte of it or of its mapping is', async (t) => {
  const folder = folderOf(t, { 'customers.csv': 'externalId\n1\n' })
  const fingerprint = async (mapping = OWN_NAMES) => (await SourceFiles.open(folder, mapping)).fingerprint
  const before = await fingerprint()
  t.equal(await fingerprint(), before)
  t.not(await fingerprint(mappingOf({ encoding: 'windows-1252' })), before)
  writeFileSync(join(folder, 'customers.csv'), 'externalId\n2\n')
  t.not(await fingerprint(), before)
})

t.test('every fault of a mapping is told with its place', async (t) => {
  const fields = {
    legal: 'a',
    'contacts.0.email': { columns: 'b' },
    contacts: 'c',
    'metadata.x': { constant: 1, default: 2 },
    country: { column: 'd', values: [], format: 'mm/dd/yyyy' }
  }
  const read = readMapping({ encoding: 'ebcdic', customers: { table: 't', fields }, users: { fields: 1 }, plans: {} })
  t.match('faults' in read && read.faults.map(({ field }) => field).toSorted(), [
    'customers',
    'customers.fields.contacts',
    'customers.fields.contacts.0.email',
    'customers.fields.contacts.0.email.columns',
    'customers.fields.country.format',
    'customers.fields.country.values',
    'customers.fields.legal',
    'customers.fields.metadata.x',
    'encoding',
    'plans',
    'users.fields'
  ])
})
