import t from 'tap'
import { countTests } from './tap-count.ts'

t.test('the count is the one of the last summary outside every test', async (t) => {
  const report = [
    '# Subtest: a.test.ts',
    '    ok 1 - works',
    '    # { total: 9, pass: 9 }',
    'ok 1 - a.test.ts',
    '# { total: 7, pass: 3, fail: 2, skip: 1, todo: 1 }'
  ].join('\n')
  t.same(countTests(report, 1), { passed: 3, failed: 2, skipped: 2 })
  t.same(countTests('# { total: 5, pass: 5 }\n# time=3ms\n', 0), { passed: 5, failed: 0, skipped: 0 })
})

t.test('a run without a test has failed', async (t) => {
  t.same(countTests('', 0), { passed: 0, failed: 1, skipped: 0 })
  t.same(countTests('TAP version 14\n1..0\n# { total: 0, pass: 0 }', 0), { passed: 0, failed: 1, skipped: 0 })
})

t.test('a run that ended badly has failed, whatever it counted', async (t) => {
  t.same(countTests('# { total: 5, pass: 5 }', 1), { passed: 5, failed: 1, skipped: 0 })
})
