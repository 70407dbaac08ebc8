/** The load generator as a scenario uses it: started once, one job after the other, gone when it is closed. */
import { type ChildProcessByStdio, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import type { Readable, Writable } from 'node:stream'
import { projectFolder } from '../../stack/machine/native-server.ts'
import type { LoadJob, LoadReport } from './load-job.ts'

export class LoadGenerator {
  readonly #child: ChildProcessByStdio<Writable, Readable, Readable>
  readonly #reports: AsyncIterator<string>
  #complaints = ''

  constructor() {
    this.#child = spawn(process.execPath, ['bench/http/load-process.ts'], {
      cwd: projectFolder(),
      stdio: ['pipe', 'pipe', 'pipe']
    })
    this.#child.stderr.setEncoding('utf8').on('data', (text: string) => {
      this.#complaints += text
    })
    this.#reports = createInterface({ input: this.#child.stdout })[Symbol.asyncIterator]()
  }

  /** One at a time. Throws with what the generator said when it ended over it. */
  async run(job: LoadJob): Promise<LoadReport> {
    this.#child.stdin.write(`${JSON.stringify(job)}\n`)
    const { done, value } = await this.#reports.next()
    if (done === true) throw new Error(`the load generator ended: ${this.#complaints}`)
    return JSON.parse(value)
  }

  async close(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return
    const ended = once(this.#child, 'exit')
    this.#child.stdin.end()
    await ended
  }
}
