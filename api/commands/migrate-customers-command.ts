/**
 * `npm run migrate:customers -- --source FILE|FOLDER|postgres://…`: takes customers, users and subscriptions of a former service over
 * (docs/migration.md). Killed at any moment, it goes on with `--resume`. Exit code 0: every row was taken; 2: some were refused, and
 * the report says why; 1: it could not go on.
 */
import { readFileSync } from 'node:fs'
import { SingleBar } from 'cli-progress'
import { Command } from 'commander'
import type { ImportPart, ImportSource } from '../../domain/customers/import/customer-import.ts'
import { type ImportMapping, OWN_NAMES, readMapping } from '../../domain/customers/import/import-mapping.ts'
import { RetryableError } from '../../domain/errors.ts'
import { postgresVariables } from '../../monitoring/config.ts'
import { loadConfig } from '../../monitoring/load-config.ts'
import { Database, LONG_STATEMENT_TIMEOUT_MS } from '../../sql/connect.ts'
import { PostgresCustomerImport } from '../../sql/import/customer-import.ts'
import { RehearsedCustomerImport } from '../../sql/import/rehearsal.ts'
import { SourceTables } from '../../sql/import/source-tables.ts'
import { migrate } from '../../sql/migrate.ts'
import { importCustomers } from '../import/import-customers.ts'
import { describeCounts, ImportReport } from '../import/import-report.ts'
import { SourceFiles } from '../import/source-files.ts'

const BATCH_SIZE = 500
const BATCH_SIZE_MAX = 5_000
const REFUSED_EXIT_CODE = 2
/** Without a terminal progress is a line each so many rows. */
const ROWS_A_LINE = 10_000

interface Choice {
  readonly source: string
  readonly mapping?: string
  readonly report?: string
  readonly batch: number
  readonly events: boolean
  readonly dryRun?: boolean
  readonly resume?: boolean
}

export async function runMigrateCustomersCommand(args: readonly string[]): Promise<void> {
  const program = new Command('migrate-customers')
    .description('take customers, users and subscriptions of a former service over')
    .requiredOption(
      '--source <place>',
      'a .csv or .jsonl of customers, a folder with one for each part, or a postgres:// URL'
    )
    .option(
      '--mapping <file>',
      'JSON that says which column is which field; without it columns are called as our fields'
    )
    .option('--report <file>', 'where to write refused rows, JSON Lines')
    .option('--batch <rows>', 'rows of a transaction', parseBatch, BATCH_SIZE)
    .option('--no-events', 'tell other services nothing')
    .option('--dry-run', 'judge every row and write nothing')
    .option('--resume', 'go on where an earlier run of the same source was interrupted')
    .action(migrateCustomers)
  await program.parseAsync([...args], { from: 'user' })
}

async function migrateCustomers(choice: Choice): Promise<void> {
  const { dryRun = false, resume: isResumed = false } = choice
  const { DATABASE_URL: databaseUrl } = loadConfig([postgresVariables])
  const mapping = choice.mapping === undefined ? OWN_NAMES : loadMapping(choice.mapping)
  const source = await openSource(choice.source, mapping)
  const report = new ImportReport(choice.report ?? null, (line) => console.error(line))
  const database = new Database({
    databaseUrl,
    applicationName: 'tokenmeter-migrate',
    connectionsMax: 2,
    role: 'tokenmeter_platform',
    statementTimeoutMs: LONG_STATEMENT_TIMEOUT_MS
  })
  const progress = showProgress(source)
  try {
    if (!dryRun) await migrate(databaseUrl)
    const store = dryRun
      ? new RehearsedCustomerImport(database, (line) => report.add(line))
      : new PostgresCustomerImport(database)
    const options = { isResumed, batchSize: choice.batch, withEvents: choice.events }
    const dependencies = { source, mapping, store, now: Date.now, onProgress: progress.show }
    const counts = await importCustomers(dependencies, options)
    progress.stop()
    for await (const line of store.refusals()) report.add(line)
    report.finish(counts)
    console.log(describeCounts(counts))
    if (dryRun) console.log('nothing was written: --dry-run')
    if ([...counts.values()].some(({ refused }) => refused > 0)) process.exitCode = REFUSED_EXIT_CODE
  } catch (error) {
    progress.stop()
    if (!(error instanceof RetryableError)) throw error
    console.error(`${error.message}\nrun it again with --resume`)
    process.exitCode = 1
  } finally {
    await source.close()
    await database.close()
  }
}

function loadMapping(path: string): ImportMapping {
  const read = readMapping(JSON.parse(readFileSync(path, 'utf8')))
  if ('mapping' in read) return read.mapping
  const faults = read.faults.map(({ field, message }) => `  ${field} ${message}`)
  throw new Error([`${path} is no mapping:`, ...faults].join('\n'))
}

function openSource(source: string, mapping: ImportMapping): Promise<ImportSource> {
  return /^postgres(ql)?:\/\//.test(source) ? SourceTables.open(source, mapping) : SourceFiles.open(source, mapping)
}

interface Progress {
  readonly show: (part: ImportPart, rows: number) => void
  readonly stop: () => void
}

/** A bar on a terminal, lines elsewhere. */
function showProgress({ sizes }: ImportSource): Progress {
  if (!process.stderr.isTTY) return progressLines(sizes)
  const format = '{part} [{bar}] {percentage} % | {value} of {total} | {eta_formatted} left'
  const bar = new SingleBar({ format, stream: process.stderr, hideCursor: true })
  let current: ImportPart | null = null
  return {
    show: (part, rows) => {
      if (part !== current) {
        bar.stop()
        bar.start(sizes.get(part) ?? 0, rows, { part: part.padEnd(13) })
        current = part
      }
      // A file whose last line has no line feed has one row more than it has line feeds.
      bar.setTotal(Math.max(sizes.get(part) ?? 0, rows))
      bar.update(rows)
    },
    stop: () => bar.stop()
  }
}

function progressLines(sizes: ImportSource['sizes']): Progress {
  let lines = 0
  return {
    show: (part, rows) => {
      const due = Math.floor(rows / ROWS_A_LINE)
      if (due > 0 && due !== lines) console.error(`${part}: ${rows} of about ${sizes.get(part) ?? 0}`)
      lines = due
    },
    stop: () => undefined
  }
}

function parseBatch(text: string): number {
  const rows = /^\d{1,4}$/.test(text) ? Number(text) : 0
  if (rows < 1 || rows > BATCH_SIZE_MAX) throw new Error(`--batch ${text} is no number from 1 to ${BATCH_SIZE_MAX}`)
  return rows
}
