/**
 * A ratio as a picture: a bar up to the median, a whisker from the worst to the best round, the goal as a dashed line, and the
 * baseline's median as a thin bar. SVG with one style for light pages and one for dark ones; whether the goal is reached is written as well
 * as coloured.
 */
import type { RatioResult } from '../harness/run-scenario.ts'
import { figureText, goalText, wrap } from './figure-text.ts'

export interface RatioChart
  extends Pick<RatioResult, 'id' | 'title' | 'goal' | 'min' | 'median' | 'max' | 'isReached'> {
  /** Median; null when the baseline lacks the ratio. */
  readonly baseline: number | null
}

const WIDTH = 720
const MARGIN = 16
/** Of the scale, between labels of the bars and the figures behind them. */
const SCALE_LEFT = 96
const SCALE_RIGHT = 540
const TITLE_CHARACTERS = 84
const LINE_HEIGHT = 18
const BAR_HEIGHT = 20
const BASELINE_BAR_HEIGHT = 8
const ROW_GAP = 10
const AXIS_HEIGHT = 24
/** The scale ends so much beyond what it has to show. */
const HEADROOM = 1.1
const TICKS_MAX = 6

const STYLE = `text{font:13px system-ui,sans-serif;fill:#24292f}
.title{font-weight:600}.quiet{font-size:11px;fill:#57606a}
.axis,.tick{stroke:#afb8c1}.whisker{stroke:#24292f;stroke-width:1.5}.goal{stroke:#8250df;stroke-width:1.5;stroke-dasharray:4 3}
.goal-text{font-size:11px;fill:#8250df}.reached{fill:#4c9a7d}.missed{fill:#c8713d}.baseline{fill:#8c959f}
@media(prefers-color-scheme:dark){text{fill:#e6edf3}.quiet{fill:#9198a1}.axis,.tick{stroke:#545d68}
.whisker{stroke:#e6edf3}.goal{stroke:#b392f0}.goal-text{fill:#b392f0}.baseline{fill:#768390}}`

export function drawRatio(chart: RatioChart): string {
  return drawSheet([chart])
}

/** One below the other, each with a scale of its own. */
export function drawSheet(charts: readonly RatioChart[]): string {
  const parts: string[] = []
  let top = 0
  for (const chart of charts) {
    const { body, height } = bodyOf(chart)
    parts.push(`<g transform="translate(0 ${top})">`, ...body, '</g>')
    top += height
  }
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${top}" viewBox="0 0 ${WIDTH} ${top}" role="img">`,
    `<title>${escapeText(charts.map(({ id, median }) => `${id}: ${figureText(median)}`).join(', '))}</title>`,
    `<style>${STYLE}</style>`,
    ...parts,
    '</svg>',
    ''
  ].join('\n')
}

function bodyOf(chart: RatioChart): { readonly body: readonly string[]; readonly height: number } {
  const { id, title, goal, min, median, max, baseline, isReached } = chart
  const scale = scaleOf(chart)
  const titleLines = wrap(`${id}  ${title}`, TITLE_CHARACTERS)
  const barTop = MARGIN + titleLines.length * LINE_HEIGHT + LINE_HEIGHT
  const baselineTop = barTop + BAR_HEIGHT + ROW_GAP
  const axisTop = baseline === null ? baselineTop : baselineTop + BASELINE_BAR_HEIGHT + ROW_GAP
  const goals = [...new Set([goal.atLeast, goal.atMost])].filter((bound) => bound !== undefined)
  const goalTop = barTop - 4
  const middle = barTop + BAR_HEIGHT / 2
  const body = [
    ...titleLines.map((text, at) => words(text, { class: 'title', x: MARGIN, y: MARGIN + (at + 1) * LINE_HEIGHT - 4 })),
    ...ticksOf(scale.end).flatMap((tick) => [
      stroke('tick', [scale.x(tick), axisTop, scale.x(tick), axisTop + 4]),
      words(figureText(tick), { class: 'quiet', x: scale.x(tick), y: axisTop + 16, anchor: 'middle' })
    ]),
    stroke('axis', [SCALE_LEFT, axisTop, SCALE_RIGHT, axisTop]),
    words('this run', { x: MARGIN, y: middle + 4 }),
    bar(isReached ? 'reached' : 'missed', { y: barTop, width: scale.x(median) - SCALE_LEFT, height: BAR_HEIGHT }),
    stroke('whisker', [scale.x(min), middle, scale.x(max), middle]),
    ...[min, max].map((end) => stroke('whisker', [scale.x(end), middle - 5, scale.x(end), middle + 5])),
    words(`${figureText(median)} (${figureText(min)}–${figureText(max)})`, { x: SCALE_RIGHT + 12, y: middle + 4 }),
    ...(baseline === null
      ? []
      : [
          words('baseline', { class: 'quiet', x: MARGIN, y: baselineTop + BASELINE_BAR_HEIGHT }),
          bar('baseline', { y: baselineTop, width: scale.x(baseline) - SCALE_LEFT, height: BASELINE_BAR_HEIGHT }),
          words(figureText(baseline), { class: 'quiet', x: SCALE_RIGHT + 12, y: baselineTop + BASELINE_BAR_HEIGHT })
        ]),
    ...goals.map((bound) => stroke('goal', [scale.x(bound), goalTop, scale.x(bound), axisTop])),
    words(`goal ${goalText(goal)}, ${isReached ? 'reached' : 'not reached'}`, {
      class: 'goal-text',
      x: scale.x(goals[0] ?? 0),
      y: goalTop - 4,
      anchor: scale.x(goals[0] ?? 0) > (SCALE_LEFT + SCALE_RIGHT) / 2 ? 'end' : 'start'
    })
  ]
  return { body, height: axisTop + AXIS_HEIGHT + MARGIN }
}

/** From 0, so that bars of one picture can be compared by their length. */
function scaleOf({ goal, max, baseline }: RatioChart): { readonly end: number; readonly x: (ratio: number) => number } {
  const most = Math.max(max, baseline ?? 0, goal.atLeast ?? 0, goal.atMost ?? 0)
  const end = most > 0 ? most * HEADROOM : 1
  return { end, x: (ratio) => round(SCALE_LEFT + (Math.max(0, ratio) / end) * (SCALE_RIGHT - SCALE_LEFT)) }
}

/** 0 and the multiples of a round step (1, 2 or 5 times a power of ten) up to the end of the scale. */
export function ticksOf(end: number): readonly number[] {
  const power = 10 ** Math.floor(Math.log10(end / TICKS_MAX))
  const step = power * ([1, 2, 5, 10].find((times) => end / (times * power) <= TICKS_MAX) ?? 10)
  return Array.from({ length: Math.floor(end / step) + 1 }, (_, at) => Number((at * step).toPrecision(6)))
}

interface Words {
  readonly class?: string
  readonly x: number
  readonly y: number
  readonly anchor?: 'middle' | 'end' | 'start'
}

function words(text: string, { class: name, x, y, anchor }: Words): string {
  const look = `${name === undefined ? '' : ` class="${name}"`}${anchor === undefined ? '' : ` text-anchor="${anchor}"`}`
  return `<text x="${x}" y="${y}"${look}>${escapeText(text)}</text>`
}

function bar(
  name: string,
  { y, width, height }: { readonly y: number; readonly width: number; readonly height: number }
): string {
  return `<rect class="${name}" x="${SCALE_LEFT}" y="${y}" width="${round(width)}" height="${height}" rx="2"/>`
}

function stroke(name: string, [x1, y1, x2, y2]: readonly [number, number, number, number]): string {
  return `<line class="${name}" x1="${x1}" y1="${y1}" x2="${x2}" y2="${y2}"/>`
}

function round(pixels: number): number {
  return Math.round(pixels * 10) / 10
}

function escapeText(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;')
}
