/** Redocly's verdict over the OpenAPI document, by redocly.yaml; nothing is asked of another host. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { runProgram } from '../e2e/run-program.ts'
import { ROOT } from '../source-files.ts'

const PROGRAM = fileURLToPath(import.meta.resolve('@redocly/cli/bin/cli.js'))
const TIMEOUT_MS = 120_000
const PROBLEMS_MAX = 1_000

export interface LintVerdict {
  readonly errors: number
  readonly warnings: number
  /** One sentence for each, with the rule and the place. */
  readonly faults: readonly string[]
}

/** What we read of redocly's JSON report. */
interface LintOutput {
  readonly totals: { readonly errors: number; readonly warnings: number }
  readonly problems: readonly {
    readonly ruleId: string
    readonly message: string
    readonly location: readonly { readonly pointer?: string }[]
  }[]
}

export async function lintDocument(document: object): Promise<LintVerdict> {
  const folder = await mkdtemp(join(tmpdir(), 'tokenmeter-openapi-'))
  try {
    const file = join(folder, 'openapi.json')
    await writeFile(file, JSON.stringify(document))
    return verdictOf(await lint(file))
  } finally {
    await rm(folder, { recursive: true })
  }
}

async function lint(file: string): Promise<LintOutput> {
  const config = join(ROOT, 'redocly.yaml')
  const options = ['--config', config, '--format', 'json', '--max-problems', String(PROBLEMS_MAX)]
  const { stdout, stderr } = await runProgram(process.execPath, [PROGRAM, 'lint', ...options, file], {
    environment: { ...process.env, REDOCLY_TELEMETRY: 'off', REDOCLY_SUPPRESS_UPDATE_NOTICE: 'true' },
    timeoutMs: TIMEOUT_MS
  })
  try {
    return JSON.parse(stdout)
  } catch (cause) {
    throw new Error(`redocly gave no report:\n${stdout}${stderr}`, { cause })
  }
}

function verdictOf({ totals, problems }: LintOutput): LintVerdict {
  const faults = problems.map(
    ({ ruleId, message, location }) => `${ruleId}: ${message} (${location[0]?.pointer ?? '#'})`
  )
  return { errors: totals.errors, warnings: totals.warnings, faults }
}
