/**
 * `npm run audit:verify [-- --customer ID] [--anchor FILE] [--write-anchor FILE] [--json]` reads every audit trail from its start
 * and tells, for each that is not as it was written, the first record at fault. Exit code 1 then. What was written anew as a whole, or
 * cut short together with its head, only an anchor shows: the heads of an earlier run, kept where nobody of the database can write.
 */
import { createHash } from 'node:crypto'
import { readFileSync, renameSync, writeFileSync } from 'node:fs'
import { Command } from 'commander'
import type { AuditChains } from '../../domain/audit/audit-store.ts'
import type { ChainHead } from '../../domain/audit/chain.ts'
import { type ChainFinding, verifyChain } from '../../domain/audit/verify-chain.ts'
import { postgresVariables } from '../../monitoring/config.ts'
import { loadConfig } from '../../monitoring/load-config.ts'
import { PostgresAuditChains } from '../../sql/change/audit-chains.ts'
import { Database, LONG_STATEMENT_TIMEOUT_MS } from '../../sql/connect.ts'

/** Heads by customer; an empty id is the platform's own trail. */
export type Anchors = ReadonlyMap<string, ChainHead>

const NO_ANCHORS: Anchors = new Map()

/** Trails that are there, and those of which only the anchor knows any more. */
export async function* verifyTrails(
  chains: AuditChains,
  options: { readonly customerId?: string; readonly anchors?: Anchors } = {}
): AsyncGenerator<ChainFinding> {
  const { customerId, anchors = NO_ANCHORS } = options
  const missing = new Set(customerId === undefined ? anchors.keys() : [])
  const customers = customerId === undefined ? chains.customers() : [customerId]
  for await (const customer of customers) {
    missing.delete(customer)
    yield verifyTrail(chains, customer, anchors)
  }
  for (const customer of missing) yield verifyTrail(chains, customer, anchors)
}

async function verifyTrail(chains: AuditChains, customerId: string, anchors: Anchors): Promise<ChainFinding> {
  const stand = await chains.stand(customerId)
  const through = stand.head?.sequence ?? stand.lastSequence ?? 0
  const records = chains.records(customerId, through)
  return verifyChain({ customerId, stand, records, anchor: anchors.get(customerId) ?? null })
}

interface AnchorLine {
  /** Null: the platform's own trail. */
  readonly customerId: string | null
  readonly sequence: number
  readonly hash: string
  /** When it was verified up to there, RFC 3339. */
  readonly at: string
}

/** JSON Lines, one trail each. Throws on a line that is none: half an anchor file would pass over what it lost. */
export function readAnchors(text: string): Anchors {
  const lines = text.split('\n').filter((line) => line.trim() !== '')
  return new Map(lines.map((line, index) => readAnchor(line, index + 1)))
}

function readAnchor(line: string, number: number): [string, ChainHead] {
  const { customerId, sequence, hash }: Partial<AnchorLine> = parseLine(line) ?? {}
  const isTrail = customerId === null || typeof customerId === 'string'
  if (!isTrail || !Number.isSafeInteger(sequence) || sequence === undefined || !/^[0-9a-f]{64}$/.test(hash ?? '')) {
    throw new Error(`line ${number} of the anchor file is no anchor: ${line.slice(0, 200)}`)
  }
  return [customerId ?? '', { sequence, hash: hash ?? '' }]
}

function parseLine(line: string): Partial<AnchorLine> | null {
  try {
    return JSON.parse(line)
  } catch {
    return null
  }
}

export function writeAnchors(findings: readonly ChainFinding[], now: number): string {
  const at = new Date(now).toISOString()
  const lines = findings.map(({ customerId, head }): AnchorLine => ({ customerId: customerId || null, ...head, at }))
  return lines.map((line) => `${JSON.stringify(line)}\n`).join('')
}

/** One hash over all heads, short enough to be noted by hand elsewhere. */
export function summaryHash(findings: readonly ChainFinding[]): string {
  const lines = findings.map(({ customerId, head }) => JSON.stringify([customerId, head.sequence, head.hash])).sort()
  return createHash('sha256').update(lines.join('\n')).digest('hex')
}

interface VerifyOptions {
  readonly customer?: string
  readonly anchor?: string
  readonly writeAnchor?: string
  readonly json?: boolean
}

export async function runAuditCommand(args: readonly string[]): Promise<void> {
  const program = new Command('audit')
  program
    .command('verify')
    .description('verify the audit trails; exit code 1 when one is not as it was written')
    .option('--customer <id>', 'the trail of this customer alone')
    .option('--anchor <file>', 'compare with the heads that an earlier run wrote')
    .option('--write-anchor <file>', 'write the heads of all trails, when all verify')
    .option('--json', 'one JSON object instead of lines')
    .action(verify)
  await program.parseAsync([...args], { from: 'user' })
}

async function verify({ customer, anchor, writeAnchor, json = false }: VerifyOptions): Promise<void> {
  if (customer !== undefined && writeAnchor !== undefined) {
    throw new Error('--write-anchor is of all trails: leave --customer out')
  }
  const anchors = anchor === undefined ? NO_ANCHORS : readAnchors(readFileSync(anchor, 'utf8'))
  const { DATABASE_URL: databaseUrl } = loadConfig([postgresVariables])
  const statementTimeoutMs = LONG_STATEMENT_TIMEOUT_MS
  const database = new Database({
    databaseUrl,
    applicationName: 'tokenmeter-audit',
    connectionsMax: 2,
    statementTimeoutMs
  })
  const findings: ChainFinding[] = []
  try {
    const only = customer === undefined ? {} : { customerId: customer }
    for await (const finding of verifyTrails(new PostgresAuditChains(database), { anchors, ...only })) {
      if (!json) console.log(describe(finding))
      findings.push(finding)
    }
  } finally {
    await database.close()
  }
  const faults = findings.filter(({ fault }) => fault !== null)
  console.log(json ? JSON.stringify(toJson(findings)) : summaryOf(findings))
  if (faults.length > 0) process.exitCode = 1
  else if (writeAnchor !== undefined) replaceFile(writeAnchor, writeAnchors(findings, Date.now()))
}

/** Whole or not at all: an anchor that lost its end would vouch for less than it seems to. */
function replaceFile(path: string, text: string): void {
  const draft = `${path}.draft`
  writeFileSync(draft, text)
  renameSync(draft, path)
}

function describe({ customerId, head, fault }: ChainFinding): string {
  const trail = (customerId || '(platform)').padEnd(36)
  if (fault === null) return `ok    ${trail} ${String(head.sequence).padStart(10)}  ${head.hash}`
  return `FAULT ${trail} ${String(fault.sequence).padStart(10)}  ${fault.message}`
}

function summaryOf(findings: readonly ChainFinding[]): string {
  const records = findings.reduce((sum, { head }) => sum + head.sequence, 0)
  const faults = findings.filter(({ fault }) => fault !== null).length
  return `${findings.length} trails, ${records} records verified, ${faults} at fault; all heads: ${summaryHash(findings)}`
}

function toJson(findings: readonly ChainFinding[]): object {
  return {
    faults: findings.filter(({ fault }) => fault !== null).length,
    heads: summaryHash(findings),
    trails: findings.map(({ customerId, head, fault }) => ({ customerId: customerId || null, ...head, fault }))
  }
}
