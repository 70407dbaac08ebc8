// The command as an operator runs it: a process of its own on a real database, killed where it hurts.

import { spawn } from 'node:child_process'
import { randomInt } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { CHAIN_START, chainHash } from '../../domain/audit/chain.ts'
import type { JsonObject } from '../../domain/json.ts'
import { verifyTrails } from '../../ingest/commands/audit-command.ts'
import { PostgresAuditChains } from '../../sql/change/audit-chains.ts'
import { Database } from '../../sql/connect.ts'
import { waitUntil } from '../../stack/machine/wait-until.ts'
import { startCustomerService } from '../../test/customer-service.ts'
import { runProgram } from '../../test/e2e/run-program.ts'
import { addPlan } from '../../test/plans-and-customers.ts'

type Test = Pick<typeof import('tap').t, 'teardown'>

const COMMAND = 'stack/commands/operations/migrate-customers.ts'
const SME = ['--source', 'docs/examples/migration/sme', '--mapping', 'docs/examples/migration/sme/mapping.json']
const CUSTOMERS = 5_000

interface Row {
  readonly [column: string]: unknown
}

async function makeTarget(t: Test) {
  const service = await startCustomerService(t)
  const { databaseUrl } = service
  const database = new Database({ databaseUrl, applicationName: 'test', role: 'login' })
  const folder = mkdtempSync(join(tmpdir(), 'tokenmeter-migrate-'))
  t.teardown(async () => {
    rmSync(folder, { recursive: true })
    await database.close()
  })
  const environment = { ...process.env, DATABASE_URL: databaseUrl }
  const look = async (text: string) => [...(await database.query<Row>('look', { text }))]
  return {
    service,
    look,
    environment,
    databaseUrl,
    migrate: (...args: readonly string[]) => runProgram(process.execPath, [COMMAND, ...args], { environment }),
    /** Where a file of the test's own goes. */
    place: (name: string) => join(folder, name),
    faultyTrails: async () => {
      const findings = await Array.fromAsync(verifyTrails(new PostgresAuditChains(database)))
      return findings.filter(({ fault }) => fault !== null)
    }
  }
}

function countsOf(stdout: string, part: string): readonly number[] {
  const line = stdout.split('\n').find((each) => each.startsWith(part)) ?? ''
  return line.split(/\s+/).slice(1).map(Number)
}

t.test('the export of the SME service is taken over, and once more changes nothing', async (t) => {
  const target = await makeTarget(t)
  await addPlan(target.service, { code: 'sme-essential', currency: 'XOF' })
  await addPlan(target.service, { code: 'sme-growth', currency: 'XOF' })

  const rehearsed = await target.migrate(...SME, '--dry-run')
  t.match(rehearsed, { exitCode: 0, stdout: /nothing was written/ })
  t.same(await target.look('select (select count(*) from customer) + (select count(*) from customer_import) as rows'), [
    { rows: '0' }
  ])

  const report = target.place('report.jsonl')
  const first = await target.migrate(...SME, '--report', report)
  t.equal(first.exitCode, 0, first.stderr)
  t.same(countsOf(first.stdout, 'customers'), [3, 3, 0, 0, 0])
  t.same(countsOf(first.stdout, 'users'), [5, 5, 0, 0, 0])
  t.same(countsOf(first.stdout, 'subscriptions'), [2, 2, 0, 0, 0])
  t.same(countsOf(first.stdout, 'together'), countsOf(rehearsed.stdout, 'together'), 'as the dry run said')
  t.match(JSON.parse(readFileSync(report, 'utf8')), { counts: { customers: { read: 3, created: 3, refused: 0 } } })
  t.match(
    await target.look(
      'select external_id, legal_name, country, status, contacts, metadata from customer order by external_id'
    ),
    [
      {
        external_id: 'pme-1042',
        legal_name: 'Clinique Amina SARL',
        country: 'SN',
        contacts: [{ name: 'Amina Diallo' }]
      },
      { external_id: 'pme-1043', legal_name: 'Menuiserie "Le Rabot"', status: 'suspended', contacts: [] },
      { external_id: 'pme-1044', country: 'CI', metadata: { sector: 'logiciel' } }
    ]
  )
  t.match(
    await target.look(`select s.anchor, s.status, p.starts_at <= now() and p.ends_at > now() as holds, p.follows
                               from subscription as s join subscription_period as p on p.subscription_id = s.id
                              order by s.anchor`),
    [
      { anchor: '2024-01-15', status: 'active', holds: true, follows: null },
      { anchor: '2025-08-31', holds: true }
    ]
  )
  t.same(
    await target.look('select count(*) from customer_limits where renew_at = 0'),
    [{ count: '2' }],
    'limits are due'
  )
  const told = 'select (select count(*) from outbox) as events, (select count(*) from audit_event) as records'
  t.same(await target.look(told), [{ events: '10', records: '10' }])
  t.same(await target.faultyTrails(), [])

  const second = await target.migrate(...SME)
  t.equal(second.exitCode, 0)
  t.same(countsOf(second.stdout, 'together'), [10, 0, 0, 10, 0])
  t.same(await target.look(told), [{ events: '10', records: '10' }], 'and nobody is told of it')
  t.same(await target.look('select max(version) as version from customer'), [{ version: 1 }])
})

/** Some rows are refused, and the last but one names a customer that is there already. */
function writeExport(path: string): void {
  const rows = Array.from({ length: CUSTOMERS }, (_, i) => {
    const id = i === CUSTOMERS - 2 ? 'c-0' : `c-${i}`
    return `${id},sme,Société ${i},${i % 100 === 7 ? 'XX' : 'SN'},XOF,Africa/Dakar,T-${i}`
  })
  writeFileSync(path, ['externalId,kind,legalName,country,currency,timeZone,taxId', ...rows].join('\n'))
}

t.test('an import that is killed at any moment goes on to the same end', async (t) => {
  const target = await makeTarget(t)
  const path = target.place('customers.csv')
  const report = target.place('report.jsonl')
  writeExport(path)
  const args = ['--source', path, '--batch', '250', '--report', report, '--resume']
  const rowsRead = async () => {
    const [stand] = await target.look('select sum(rows_read)::integer as rows from customer_import_part')
    return Number(stand?.rows ?? 0)
  }
  for (const kill of [1, 2]) {
    const before = await rowsRead()
    const child = spawn(process.execPath, [COMMAND, ...args], { env: target.environment, stdio: 'ignore' })
    const ended = new Promise((resolve) => child.once('exit', (_, signal) => resolve(signal)))
    const rows = before + randomInt(1, 7) * 250
    const what = `${rows} rows before kill ${kill}`
    await waitUntil(async () => (await rowsRead()) >= rows, { what, timeoutMs: 120_000, pollIntervalMs: 5 })
    child.kill('SIGKILL')
    t.equal(await ended, 'SIGKILL', `killed at ${await rowsRead()} rows`)
    t.ok((await rowsRead()) < CUSTOMERS, 'before its end')
  }
  const last = await target.migrate(...args)
  t.equal(last.exitCode, 2, last.stderr)
  const refused = CUSTOMERS / 100 + 1
  t.same(countsOf(last.stdout, 'customers'), [CUSTOMERS, CUSTOMERS - refused, 0, 0, refused])
  const made = CUSTOMERS - refused
  t.same(
    await target.look(`select (select count(*)::integer from customer) as customers,
                              (select count(*)::integer from outbox where type = 'customer.created') as events,
                              (select count(distinct customer_id)::integer from outbox) as told,
                              (select count(*)::integer from audit_event) as records`),
    [{ customers: made, events: made, told: made, records: made }]
  )
  // As verifying each trail does, but in one query: every trail has one record.
  const records = await target.look(`
    select record.hash, record.content, head.hash as head
      from audit_event as record join audit_chain as head using (customer_id, sequence) where sequence = 1`)
  t.equal(records.length, made)
  t.same(
    records.filter(
      ({ hash, content, head }) => hash !== head || hash !== chainHash(CHAIN_START.hash, 1, content as JsonObject)
    ),
    [],
    'every trail verifies'
  )
  const lines = readFileSync(report, 'utf8').trimEnd().split('\n')
  t.equal(new Set(lines).size, refused + 1, 'each refused row is in the report once, and the counts')
  t.match(JSON.parse(lines.at(-2) ?? ''), { line: CUSTOMERS, externalId: 'c-0', reason: 'is on line 2 already' })

  const again = await target.migrate(...args)
  t.same(countsOf(again.stdout, 'customers'), countsOf(last.stdout, 'customers'), 'what is finished is only told again')
  writeFileSync(path, 'externalId\n')
  t.match(
    await target.migrate(...args),
    { exitCode: 1, stderr: /has changed since/ },
    'another file is not gone on with'
  )
})
