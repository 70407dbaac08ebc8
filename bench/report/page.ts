/** What `npm run bench` prints at its end, for people: the table of ratios, each scenario's figures, the machine. */
import type { RatioResult, ScenarioResult } from '../harness/run-scenario.ts'
import { compareIds, figureText, goalText, wrap } from './figure-text.ts'
import type { BenchResults } from './results.ts'

const ID_WIDTH = 10
const TITLE_WIDTH = 54
const GOAL_WIDTH = 14
const FIGURE_WIDTH = 10
const NAME_WIDTH = 34

export function toPage(results: BenchResults): string {
  const { scenarios, failures, isQuick } = results
  return [
    ...(scenarios.length === 0 ? [] : tableOf(scenarios.flatMap(({ ratios }) => ratios))),
    ...(isQuick ? ['', 'A quick run: less of everything, so its figures are not for documents.'] : []),
    ...scenarios.flatMap((scenario) => ['', ...figuresOf(scenario)]),
    '',
    ...machineOf(results),
    ...failures.flatMap(({ scenario, ratios, error }) => ['', `FAILED ${scenario} (${ratios.join(', ')}): ${error}`])
  ].join('\n')
}

/** By id; one line for each ratio, more where its title is long. */
export function tableOf(ratios: readonly RatioResult[]): readonly string[] {
  const head = line(['', 'what is divided by what', 'goal', 'min', 'median', 'max', 'reached'])
  return [head, ...ratios.toSorted((a, b) => compareIds(a.id, b.id)).flatMap(rowsOf)]
}

function rowsOf({ id, title, goal, min, median, max, isReached }: RatioResult): readonly string[] {
  const [first = '', ...more] = wrap(title, TITLE_WIDTH)
  const figures = [min, median, max].map(figureText)
  return [
    line([id, first, goalText(goal), ...figures, isReached ? 'yes' : 'NO']),
    ...more.map((text) => line(['', text]))
  ]
}

function line([
  id = '',
  title = '',
  goal = '',
  min = '',
  median = '',
  max = '',
  reached = ''
]: readonly string[]): string {
  const figures = [min, median, max].map((text) => text.padStart(FIGURE_WIDTH)).join('')
  return `${id.padEnd(ID_WIDTH)}${title.padEnd(TITLE_WIDTH)}  ${goal.padEnd(GOAL_WIDTH)}${figures}  ${reached}`.trimEnd()
}

function figuresOf({ scenario, rounds, load, figures }: ScenarioResult): readonly string[] {
  return [
    `${scenario}: ${rounds} rounds after a warm-up; load average before each ${load.map(figureText).join(' ')}`,
    ...Object.entries(figures).flatMap(([side, spreads]) => [
      `  ${side}`,
      ...Object.entries(spreads).map(([name, { min, median, max }]) => {
        const figure = figureText(median).padStart(FIGURE_WIDTH)
        return `    ${name.padEnd(NAME_WIDTH)}${figure}  (${figureText(min)} – ${figureText(max)})`
      })
    ])
  ]
}

function machineOf({ machine, commit, measuredAt }: BenchResults): readonly string[] {
  const { cores, processor, memoryGiB, kernel, versions } = machine
  return [
    `${measuredAt}, commit ${commit}`,
    `${cores} cores of ${processor}, ${memoryGiB} GiB, Linux ${kernel}`,
    Object.entries(versions)
      .map(([name, version]) => `${name} ${version}`)
      .join(', ')
  ]
}
