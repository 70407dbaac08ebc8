export interface TestCount {
  passed: number
  failed: number
  skipped: number
}

const SUMMARY = /^# (\{ total: \d+(?:, \w+: \d+)* \})$/gm

/**
 * What tap itself counted: the summary at the end of its report, `# { total: 7, pass: 4, fail: 3 }`, outside every test
 * and therefore without indentation. A run that ended badly without a failure on record (tap broke off, a file left
 * early, nothing was tested) has one: the run.
 */
export function countTests(report: string, exitCode: number): TestCount {
  const summary = [...report.matchAll(SUMMARY)].at(-1)?.[1] ?? ''
  const read = (name: string): number => Number(new RegExp(`\\b${name}: (\\d+)`).exec(summary)?.[1] ?? 0)
  const passed = read('pass')
  const failed = read('fail')
  const skipped = read('skip') + read('todo')
  const isSilentFailure = failed === 0 && (exitCode !== 0 || passed === 0)
  return { passed, failed: isSilentFailure ? 1 : failed, skipped }
}
