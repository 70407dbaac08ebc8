/**
 * `npm run bench:compare [-- --tolerance 0.15] [--write] [FILE] [FILE]`: the latest results, or the given ones, against
 * `bench/baseline.json`; of two files, the second against the first. The rule is in report/compare-results.ts. Exit code 1 when
 * a ratio is worse or its scenario failed. `--write` makes the results the baseline.
 */
import { existsSync, writeFileSync } from 'node:fs'
import { Command, InvalidArgumentError } from 'commander'
import { type Comparable, compare, describeComparison, speaksAgainst, toBaseline } from './report/compare-results.ts'
import { figureText } from './report/figure-text.ts'
import { baselineFile, latestResultsFile, readComparable } from './report/results.ts'

const TOLERANCE = 0.15

interface Choice {
  readonly tolerance: number
  readonly write?: boolean
}

export function compareCommand(args: readonly string[]): void {
  const program = new Command('bench:compare')
    .description('hold results of the bench against the baseline, or against other results')
    .argument('[files...]', 'the latest results; of two files, the first is compared with')
    .option('--tolerance <share>', 'of the median: how much worse a ratio may be', parseTolerance, TOLERANCE)
    .option('--write', 'make the results the baseline')
    .parse([...args], { from: 'user' })
  const { tolerance, write } = program.opts<Choice>()
  const [before, after] = chooseFiles(program)
  const results = readFile(program, after)
  if (write) {
    const objection = objectionTo(results, before)
    if (objection !== null) program.error(`not made the baseline: ${results.name} ${objection}`)
    writeFileSync(baselineFile(), `${JSON.stringify(toBaseline(results), null, 2)}\n`)
    console.log(`${baselineFile()} now says what ${results.name} measured: ${[...results.ratios.keys()].join(', ')}`)
    return
  }
  if (!existsSync(before)) {
    program.error(`${before} is not there: npm run bench:compare -- --write makes ${results.name} the baseline`)
  }
  const known = readFile(program, before)
  const changes = compare(known, results, tolerance)
  console.log(describeComparison(known, results, changes))
  const against = changes.filter(speaksAgainst).map(({ id, verdict }) => `${id} ${verdict}`)
  console.log(
    `\ntolerance ${figureText(tolerance * 100)} %: ${against.length === 0 ? 'nothing is worse' : against.join(', ')}`
  )
  if (against.length > 0) process.exitCode = 1
}

function chooseFiles(program: Command): readonly [before: string, after: string] {
  const [first, second, ...more] = program.args
  if (more.length > 0) program.error('at most two files can be compared')
  if (first === undefined) return [baselineFile(), latestResultsFile()]
  return second === undefined ? [baselineFile(), first] : [first, second]
}

/** A file that is not what it should be is the caller's mistake, which no stack trace explains. */
function readFile(program: Command, path: string): Comparable {
  try {
    return readComparable(path)
  } catch (error) {
    return program.error(error instanceof Error ? error.message : String(error))
  }
}

/** Why the results are no baseline; null when they are. */
function objectionTo({ isQuick, failed, ratios }: Comparable, baseline: string): string | null {
  if (isQuick) return 'is of a quick run, whose figures are too rough to hold others against'
  if (failed.length > 0) return `lacks ${failed.join(', ')}, whose scenario failed`
  const known = existsSync(baseline) ? [...readComparable(baseline).ratios.keys()] : []
  const lost = known.filter((id) => !ratios.has(id))
  return lost.length === 0
    ? null
    : `lacks ${lost.join(', ')}, which ${baseline} has: run the whole bench, or remove that file`
}

function parseTolerance(text: string): number {
  const tolerance = Number(text)
  if (!(tolerance >= 0 && tolerance < 1))
    throw new InvalidArgumentError('It is a share of the median, from 0 to below 1.')
  return tolerance
}
