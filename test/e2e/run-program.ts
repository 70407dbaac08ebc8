/** Runs a program to its end, as a person at a terminal would. */
import { spawn } from 'node:child_process'
import { projectFolder } from '../../stack/machine/native-server.ts'

export interface ProgramRun {
  readonly exitCode: number
  readonly stdout: string
  readonly stderr: string
}

export interface ProgramOptions {
  /** The whole environment, not an addition to ours. */
  readonly environment?: Readonly<Record<string, string | undefined>>
  readonly input?: string | Buffer
  readonly timeoutMs?: number
}

const TIMEOUT_MS = 60_000

/** In the project's folder. Rejects when the program can't be started or does not end in time. */
export async function runProgram(
  command: string,
  args: readonly string[],
  { environment = process.env, input = '', timeoutMs = TIMEOUT_MS }: ProgramOptions = {}
): Promise<ProgramRun> {
  const child = spawn(command, args, {
    cwd: projectFolder(),
    env: { ...environment },
    signal: AbortSignal.timeout(timeoutMs)
  })
  const output = { stdout: '', stderr: '' }
  for (const stream of ['stdout', 'stderr'] as const) {
    child[stream].setEncoding('utf8').on('data', (text: string) => {
      output[stream] += text
    })
  }
  // A program that ends without reading leaves a broken pipe; its exit code tells what happened.
  child.stdin.on('error', (error) => {
    output.stderr += `${error.message}\n`
  })
  child.stdin.end(input)
  const exitCode = await new Promise<number>((resolve, reject) => {
    child.once('error', (error) =>
      reject(new Error(`${command} ${args.join(' ')}: ${error.message}`, { cause: error }))
    )
    child.once('close', (code) => resolve(code ?? -1))
  })
  return { exitCode, ...output }
}

/** `npm run <script> -- <args>` on an installation. Rejects unless it ends with 0. */
export async function npmRun(
  environment: Readonly<Record<string, string>>,
  script: string,
  ...args: readonly string[]
): Promise<string> {
  const run = await runProgram('npm', ['run', '--silent', script, '--', ...args], {
    environment: { ...process.env, ...environment }
  })
  if (run.exitCode !== 0) throw new Error(`npm run ${script} ended with ${run.exitCode}:\n${run.stdout}${run.stderr}`)
  return run.stdout
}
