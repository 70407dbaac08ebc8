// Trails in a real database, changed as nobody may change them: by whoever owns the tables.

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import type { AuditRecord } from '../../domain/audit/audit-record.ts'
import { chainHash } from '../../domain/audit/chain.ts'
import type { ChainFinding } from '../../domain/audit/verify-chain.ts'
import type { JsonObject } from '../../domain/json.ts'
import { PostgresAuditChains } from '../../sql/change/audit-chains.ts'
import { PostgresAuditTrail } from '../../sql/change/audit-trail.ts'
import { Database } from '../../sql/connect.ts'
import { runProgram } from '../../test/e2e/run-program.ts'
import { freshDatabase } from '../../test/services.ts'
import { readAnchors, summaryHash, verifyTrails, writeAnchors } from './audit-command.ts'

type Test = Pick<typeof import('tap').t, 'teardown'>

/** Enough for several pages of a trail. */
const RECORDS = 260

function recordOf(customerId: string | null, number: number): AuditRecord {
  return {
    id: `${customerId ?? 'platform'}-${number}`,
    customerId,
    actor: { kind: 'user', id: `user-${number % 3}`, address: '192.0.2.1', requestId: null },
    action: 'customer.updated',
    entity: { kind: 'customer', id: customerId ?? 'platform' },
    before: { version: number, contacts: [{ name: 'Awa', email: 'awa@clinic.example' }] },
    after: { version: number + 1, contacts: [] },
    at: 1_772_366_400_000 + number
  }
}

interface Trails {
  readonly databaseUrl: string
  readonly chains: PostgresAuditChains
  /** Runs as the owner of the tables. */
  tamper(text: string, values?: unknown[]): Promise<readonly JsonObject[]>
  verify(): Promise<readonly ChainFinding[]>
}

async function makeTrails(t: Test, sizes: Readonly<Record<string, number>>): Promise<Trails> {
  const databaseUrl = await freshDatabase(t)
  const database = new Database({ databaseUrl, applicationName: 'test' })
  const owner = new Database({ databaseUrl, applicationName: 'test', role: 'login' })
  t.teardown(() => Promise.all([database.close(), owner.close()]))
  const trail = new PostgresAuditTrail(database)
  const from = await trail.open(0)
  const records = Object.entries(sizes).flatMap(([customer, size]) =>
    Array.from({ length: size }, (_, number) => recordOf(customer || null, number))
  )
  await trail.append({
    partition: 0,
    from,
    to: { cursor: records.length, previousArrivedAt: 0 },
    records: records.map((record, offset) => ({ offset, record }))
  })
  const chains = new PostgresAuditChains(database)
  return {
    databaseUrl,
    chains,
    tamper: (text, values = []) => owner.query<JsonObject>('tamper', { text, values }),
    verify: () => Array.fromAsync(verifyTrails(chains))
  }
}

const at = (sequence: number) => `customer_id = $1 and sequence = ${sequence}`
const copied = (sequence: number) => `
  insert into audit_event (customer_id, sequence, id, hash, action, actor_id, entity_kind, entity_id, occurred_at, content, personal)
  select customer_id, ${sequence}, 'put-in-' || customer_id, hash, action, actor_id, entity_kind, entity_id, occurred_at, content, personal
    from audit_event where ${at(5)}`

/** By trail: what is done to it, and where the verifier must find it. */
const TAMPERING: Readonly<Record<string, { statements: readonly string[]; sequence: number; message: RegExp }>> = {
  content: {
    statements: [`update audit_event set content = jsonb_set(content, '{after,version}', '9') where ${at(5)}`],
    sequence: 5,
    message: /hash is not that of the content/
  },
  hash: {
    statements: [`update audit_event set hash = repeat('a', 64) where ${at(5)}`],
    sequence: 5,
    message: /hash is not that of the content/
  },
  deleted: {
    statements: [`delete from audit_event where ${at(5)}`],
    sequence: 5,
    message: /missing: the next one is 6/
  },
  swapped: {
    statements: [
      `update audit_event set sequence = 1000 where ${at(5)}`,
      `update audit_event set sequence = 5 where ${at(6)}`,
      `update audit_event set sequence = 6 where ${at(1000)}`
    ],
    sequence: 5,
    message: /hash is not that of the content/
  },
  inserted: {
    statements: [
      `update audit_event set sequence = -sequence + 2000 where customer_id = $1 and sequence > 5`,
      `update audit_event set sequence = 2001 - sequence where customer_id = $1 and sequence > 1000`,
      copied(6)
    ],
    sequence: 6,
    message: /hash is not that of the content/
  },
  appended: { statements: [copied(RECORDS + 1)], sequence: RECORDS + 1, message: /stands behind the head/ },
  truncated: {
    statements: [`delete from audit_event where customer_id = $1 and sequence > 255`],
    sequence: 256,
    message: /missing: the head says 260/
  },
  headless: {
    statements: ['delete from audit_chain where customer_id = $1'],
    sequence: RECORDS + 1,
    message: /no head/
  },
  'head-hash': {
    statements: [`update audit_chain set hash = repeat('a', 64) where customer_id = $1`],
    sequence: RECORDS + 1,
    message: /hash of the head/
  },
  column: {
    statements: [`update audit_event set actor_id = 'somebody' where ${at(5)}`],
    sequence: 5,
    message: /plain columns/
  },
  time: {
    statements: [`update audit_event set occurred_at = occurred_at + interval '1 microsecond' where ${at(5)}`],
    sequence: 5,
    message: /plain columns/
  },
  person: {
    statements: [`update audit_event set personal = replace(personal::text, 'Awa', 'Eve')::jsonb where ${at(5)}`],
    sequence: 5,
    message: /personal value is not the one/
  },
  'foreign-person': {
    statements: [`update audit_event set personal = (select personal from audit_event where ${at(6)}) where ${at(5)}`],
    sequence: 5,
    message: /belongs to no place/
  },
  shape: {
    statements: [`update audit_event set personal = '{"digest:0": null}' where ${at(5)}`],
    sequence: 5,
    message: /personal value is not the one/
  }
}

t.test('whatever is done to a trail is found at the first record that it was done to', async (t) => {
  const names = Object.keys(TAMPERING)
  const trails = await makeTrails(t, {
    ...Object.fromEntries(names.map((name) => [name, RECORDS])),
    whole: RECORDS,
    '': 3
  })
  t.same(
    (await trails.verify()).filter(({ fault }) => fault !== null),
    [],
    'nothing is found before'
  )
  for (const [name, { statements }] of Object.entries(TAMPERING)) {
    for (const statement of statements) await trails.tamper(statement, [name])
  }
  const findings = new Map((await trails.verify()).map((finding) => [finding.customerId, finding]))
  t.equal(findings.size, names.length + 2)
  for (const [name, { sequence, message }] of Object.entries(TAMPERING)) {
    t.match(findings.get(name)?.fault, { sequence, message }, name)
  }
  t.equal(findings.get('whole')?.fault, null)
  t.equal(findings.get('')?.fault, null)
})

/** A trail written anew from a record on, every hash right: what somebody does who knows how it is made. */
async function writeAnew({ tamper }: Trails, customerId: string, from: number): Promise<void> {
  const rows = await tamper(
    'select sequence::integer, hash, content from audit_event where customer_id = $1 order by sequence',
    [customerId]
  )
  let previous = ''
  for (const { sequence, hash, content } of rows) {
    const place = Number(sequence)
    const said = { ...(content as JsonObject), ...(place === from ? { after: { version: 0 } } : {}) }
    const next = place < from ? String(hash) : chainHash(previous, place, said)
    const values = [customerId, place, next, JSON.stringify(said)]
    await tamper(
      'update audit_event set hash = $3, content = $4::jsonb, personal = $5 where customer_id = $1 and sequence = $2',
      [...values, {}]
    )
    previous = next
  }
  await tamper('update audit_chain set hash = $2 where customer_id = $1', [customerId, previous])
}

t.test('what hides itself from the chain is found by the anchor', async (t) => {
  const trails = await makeTrails(t, { anew: 20, short: 20, gone: 20, whole: 20, '': 20 })
  const before = await trails.verify()
  const anchors = readAnchors(writeAnchors(before, Date.now()))
  t.same([...anchors.keys()].sort(), ['', 'anew', 'gone', 'short', 'whole'])

  await writeAnew(trails, 'anew', 7)
  await trails.tamper(`delete from audit_event where customer_id = 'short' and sequence > 15`)
  await trails.tamper(
    `update audit_chain set sequence = 15, hash = (select hash from audit_event where customer_id = 'short' and sequence = 15)
      where customer_id = 'short'`
  )
  await trails.tamper(`delete from audit_event where customer_id = 'gone'`)
  await trails.tamper(`delete from audit_chain where customer_id = 'gone'`)

  const without = await trails.verify()
  t.same(
    without.filter(({ fault }) => fault !== null),
    [],
    'the trails agree with themselves'
  )
  t.not(summaryHash(without), summaryHash(before), 'and the one hash over all heads is another')
  const found = await Array.fromAsync(verifyTrails(trails.chains, { anchors }))
  const faults = new Map(found.map(({ customerId, fault }) => [customerId, fault]))
  t.match(faults.get('anew'), { sequence: 20, message: /not the anchored one/ })
  t.match(faults.get('short'), { sequence: 16, message: /anchored at 20 and ends before it/ })
  t.match(faults.get('gone'), { sequence: 1, message: /anchored at 20 and ends before it/ })
  t.equal(faults.get('whole'), null)
  t.equal(faults.get(''), null)
})

t.test('a trail that grows meanwhile verifies, against an older anchor too', async (t) => {
  const trails = await makeTrails(t, { growing: 10 })
  const anchors = readAnchors(writeAnchors(await trails.verify(), Date.now()))
  const database = new Database({ databaseUrl: trails.databaseUrl, applicationName: 'test' })
  t.teardown(() => database.close())
  const trail = new PostgresAuditTrail(database)
  let cursor = 10
  const growing = Array.from({ length: 10 }, async () => {
    const records = [{ offset: cursor, record: recordOf('growing', cursor++) }]
    const partition = cursor
    const from = await trail.open(partition)
    await trail.append({ partition, from, to: { cursor: 1, previousArrivedAt: 0 }, records })
  })
  for (let round = 0; round < 5; round++) {
    const [finding] = await Array.fromAsync(verifyTrails(trails.chains, { anchors }))
    t.equal(finding?.fault, null)
  }
  await Promise.all(growing)
  t.match(await Array.fromAsync(verifyTrails(trails.chains, { anchors })), [{ head: { sequence: 20 }, fault: null }])
})

t.test('an anchor file with a line that is none is refused whole', async (t) => {
  for (const line of ['{', 'null', '{"customerId":"a","sequence":1}', '{"customerId":1,"sequence":1,"hash":"00"}']) {
    t.throws(() => readAnchors(`\n${line}\n`), { message: /no anchor/ }, line)
  }
})

t.test('npm run audit:verify says what it found by its exit code, and anchors nothing that is at fault', async (t) => {
  const trails = await makeTrails(t, { one: 3, two: 4 })
  const folder = mkdtempSync(join(tmpdir(), 'tokenmeter-audit-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  const anchor = join(folder, 'heads.jsonl')
  const run = (...args: string[]) =>
    runProgram(process.execPath, ['stack/commands/operations/audit.ts', 'verify', ...args], {
      environment: { ...process.env, DATABASE_URL: trails.databaseUrl }
    })
  const first = await run('--write-anchor', anchor)
  t.match(first, { exitCode: 0, stdout: /^ok {4}one +3 .*\nok {4}two +4 .*\n2 trails, 7 records verified, 0 at fault/ })
  t.equal(readFileSync(anchor, 'utf8').trim().split('\n').length, 2)

  await trails.tamper(`update audit_event set action = 'customer.created' where customer_id = 'two' and sequence = 2`)
  writeFileSync(anchor, 'untouched')
  const second = await run('--write-anchor', anchor)
  t.match(second, { exitCode: 1, stdout: /FAULT two +2 {2}the plain columns/ })
  t.equal(readFileSync(anchor, 'utf8'), 'untouched')
  const told = await run('--json', '--customer', 'two')
  t.equal(told.exitCode, 1)
  t.match(JSON.parse(told.stdout), { faults: 1, trails: [{ customerId: 'two', sequence: 1, fault: { sequence: 2 } }] })
  t.match(await run('--customer', 'one'), { exitCode: 0 })
})
