import t from 'tap'
import { QUARTER_HOUR_MS, quarterOf, quarterStartMs, snapToQuarter } from './quarter-hour.ts'

t.test('an instant snaps to the beginning of the quarter that holds it, before 1970 too', async (t) => {
  const tenAm = Date.parse('2026-03-31T10:00Z')
  for (const instant of [tenAm, tenAm + 1, tenAm + QUARTER_HOUR_MS - 1]) t.equal(snapToQuarter(instant), tenAm)
  t.equal(snapToQuarter(tenAm - 1), tenAm - QUARTER_HOUR_MS)
  t.equal(snapToQuarter(-1), -QUARTER_HOUR_MS)
  t.equal(quarterStartMs(quarterOf(tenAm)), tenAm)
})
