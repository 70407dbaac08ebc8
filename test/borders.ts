// `npm run borders`: cruises the import graph with the rules of .dependency-cruiser.mjs, prints every breach and how many
// modules were seen. Seeing none is a failure of its own: under a compiler it can't load, dependency-cruiser finds no
// TypeScript at all and reports that everything is fine.

import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'

const ROOT = join(import.meta.dirname, '..')
const CONFIG = join(ROOT, '.dependency-cruiser.mjs')
const PROGRAM = join(ROOT, 'node_modules/.bin/depcruise')
const OUTPUT_BYTES_MAX = 256 * 1024 * 1024

interface Breach {
  readonly rule: string
  readonly from: string
  readonly to: string
}

export interface BorderReport {
  /** Our own TypeScript modules, without packages and Node's own. */
  readonly moduleCount: number
  readonly breaches: readonly Breach[]
}

/** What we read of dependency-cruiser's JSON report. */
interface CruiseOutput {
  readonly modules: readonly { readonly source: string }[]
  readonly summary: {
    readonly violations: readonly {
      readonly rule: { readonly name: string }
      readonly from: string
      readonly to: string
    }[]
  }
}

/** Cruises every source file under `root`; a breach is a line of the report, only a run that breaks throws. */
export async function findBorderBreaches(root: string): Promise<BorderReport> {
  const { modules, summary } = await cruise(root)
  return {
    moduleCount: modules.filter(({ source }) => source.endsWith('.ts') && !source.includes('node_modules')).length,
    breaches: summary.violations.map(({ rule, from, to }) => ({ rule: rule.name, from, to }))
  }
}

async function cruise(root: string): Promise<CruiseOutput> {
  const args = [PROGRAM, '--config', CONFIG, '--output-type', 'json', '.']
  const { stdout } = await promisify(execFile)(process.execPath, args, { cwd: root, maxBuffer: OUTPUT_BYTES_MAX })
  const output: CruiseOutput = JSON.parse(stdout)
  return output
}

async function main(): Promise<void> {
  const { moduleCount, breaches } = await findBorderBreaches(ROOT)
  for (const { rule, from, to } of breaches) console.error(`${rule}: ${from} -> ${to}`)
  console.log(`${moduleCount} modules cruised, ${breaches.length} border breaches`)
  if (moduleCount === 0)
    console.error('no module was cruised: dependency-cruiser could not load the TypeScript compiler')
  if (moduleCount === 0 || breaches.length > 0) process.exitCode = 1
}

if (import.meta.main) await main()
