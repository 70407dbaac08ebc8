import t from 'tap'
import { drawRatio, drawSheet, type RatioChart, ticksOf } from './chart.ts'

const CHART: RatioChart = {
  id: 'R1',
  title: 'ours & theirs <as "told">, events/s',
  goal: { atLeast: 0.75 },
  min: 0.7,
  median: 0.78,
  max: 0.81,
  isReached: true,
  baseline: null
}

/** The names of elements in the order of their start; throws when an element is not closed or text is not escaped. */
function elementsOf(svg: string): readonly string[] {
  const open: string[] = []
  const names: string[] = []
  const rest = svg.replaceAll(
    /<(\/?)([a-z]+)((?: [a-zA-Z0-9-]+="[^"<&]*")*)(\/?)>/g,
    (...[, closes, name, , isEmpty]) => {
      if (closes === '/') {
        const last = open.pop()
        if (last !== name) throw new Error(`</${name}> closes <${last}>`)
        return ''
      }
      names.push(String(name))
      if (isEmpty !== '/') open.push(String(name))
      return ''
    }
  )
  if (open.length > 0) throw new Error(`never closed: ${open.join(', ')}`)
  const stray = /[<>]|&(?!amp;|lt;|gt;|quot;)/.exec(rest)
  if (stray !== null) throw new Error(`not escaped: ${rest.slice(stray.index, stray.index + 40)}`)
  return names
}

function widthOf(svg: string, name: string): number {
  return Number(new RegExp(`<rect class="${name}"[^>]* width="([\\d.]+)"`).exec(svg)?.[1])
}

t.test('a chart is well-formed, whatever the title says', async (t) => {
  t.ok(elementsOf(drawRatio(CHART)).includes('rect'))
  t.throws(() => elementsOf('<svg><g></svg>'), 'the check finds what is not closed')
  t.throws(() => elementsOf('<text>a & b</text>'), 'the check finds what is not escaped')
})

t.test('bars are as long as the figures they stand for, from 0 on', async (t) => {
  const svg = drawRatio({ ...CHART, median: 0.4, baseline: 0.8 })
  t.equal(Math.round((widthOf(svg, 'baseline') / widthOf(svg, 'reached')) * 100), 200)
})

t.test('everything that a chart shows lies within its picture', async (t) => {
  for (const change of [
    { max: 40 },
    { baseline: 40 },
    { goal: { atMost: 40 } },
    { min: 0, median: 0, max: 0, goal: { atMost: 0 } }
  ]) {
    const svg = drawRatio({ ...CHART, ...change })
    const width = Number(/<svg[^>]* width="(\d+)"/.exec(svg)?.[1])
    const places = [...svg.matchAll(/ x[12]?="(-?[\d.]+)"/g)].map(([, x]) => Number(x))
    t.ok(
      places.every((x) => x >= 0 && x <= width),
      JSON.stringify(change)
    )
  }
})

t.test('a goal that is missed is said in words and not only in colour', async (t) => {
  t.match(drawRatio({ ...CHART, isReached: false }), /goal ≥ 0\.75, not reached/)
})

t.test('a sheet shows every ratio, one below the other', async (t) => {
  const one = drawRatio(CHART)
  const three = drawSheet([CHART, { ...CHART, id: 'R2' }, { ...CHART, id: 'R3' }])
  const heightOf = (svg: string): number => Number(/<svg[^>]* height="(\d+)"/.exec(svg)?.[1])
  t.equal(heightOf(three), 3 * heightOf(one))
  t.equal(elementsOf(three).filter((name) => name === 'g').length, 3)
})

t.test('a scale has few ticks at round figures', async (t) => {
  t.same(ticksOf(1.1), [0, 0.2, 0.4, 0.6, 0.8, 1])
  t.same(ticksOf(0.13), [0, 0.05, 0.1])
  t.same(ticksOf(24.5), [0, 5, 10, 15, 20])
})
