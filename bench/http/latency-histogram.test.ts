import t from 'tap'
import { LATENCY_MAX_MS, LatencyHistogram } from './latency-histogram.ts'

/** Three digits are kept. */
const PRECISION = 1.001

t.test('a quantile is the latency that so many did not exceed, to three digits', async (t) => {
  const histogram = new LatencyHistogram()
  for (let ms = 1; ms <= 10_000; ms++) histogram.record(ms)
  t.equal(histogram.count, 10_000)
  for (const share of [0.5, 0.99, 0.999]) {
    const ratio = histogram.quantileMs(share) / (share * 10_000)
    t.ok(ratio > 1 / PRECISION && ratio < PRECISION, `p${share * 100} is off by ${ratio}`)
  }
})

t.test('one slow answer in a thousand is seen at p99.9 and beyond, and not at p99', async (t) => {
  const histogram = new LatencyHistogram()
  for (let i = 0; i < 998; i++) histogram.record(0.25)
  histogram.record(80)
  histogram.record(80)
  t.equal(histogram.quantileMs(0.99), 0.25)
  t.ok(histogram.quantileMs(0.999) >= 80)
  t.ok(histogram.maxMs >= 80)
})

t.test('what lasts beyond the longest that is told apart is kept as the longest', async (t) => {
  const histogram = new LatencyHistogram()
  histogram.record(LATENCY_MAX_MS * 2)
  histogram.record(-0.5)
  t.equal(histogram.count, 2)
  t.ok(histogram.quantileMs(1) * PRECISION >= LATENCY_MAX_MS)
  t.equal(histogram.quantileMs(0.5), 0)
})
