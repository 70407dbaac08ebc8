/** Progress lines go to the error stream with the seconds since the start, so that output stays free for results. */
export function createProgress(): (line: string) => void {
  const startedAt = performance.now()
  return (line) => {
    const seconds = ((performance.now() - startedAt) / 1000).toFixed(1).padStart(6)
    process.stderr.write(`[${seconds} s] ${line}\n`)
  }
}
