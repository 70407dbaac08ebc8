/** Runs the shell commands of a document as a reader would, one block after the other, and holds each against the JSON below it. */
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { projectFolder } from '../../stack/machine/native-server.ts'
import { waitUntil } from '../../stack/machine/wait-until.ts'
import { runProgram } from './run-program.ts'

export interface BlockRun {
  readonly commands: string
  readonly expected: unknown
  readonly actual: unknown
}

/** Stands in a document for what differs from run to run. */
const ANYTHING = '…'
const BLOCK = /```(sh|json)\n([\s\S]*?)```/g
/** What was sent is counted within a second; on a busy machine later. */
const ANSWERED_WITHIN_MS = 20_000

/** `variables` are those that the document tells its reader to set. Answers the blocks that have JSON below them. */
export async function runDocument(path: string, variables: Readonly<Record<string, string>>): Promise<BlockRun[]> {
  const blocks = [...(await readFile(join(projectFolder(), path), 'utf8')).matchAll(BLOCK)]
  const folder = await mkdtemp(join(tmpdir(), 'tokenmeter-document-'))
  const runs: BlockRun[] = []
  try {
    for (const [index, [, language, commands = '']] of blocks.entries()) {
      if (language !== 'sh') continue
      const below = blocks[index + 1]
      const expected: unknown = below?.[1] === 'json' ? JSON.parse(below[2] ?? '') : undefined
      const run = async () => ({ commands, expected, actual: await runBlock(commands, folder, variables) })
      runs.push(isQuestion(commands) ? await askUntilAnswered(run) : await run())
    }
  } finally {
    await rm(folder, { recursive: true })
  }
  return runs.filter(({ expected }) => expected !== undefined)
}

/** Whether an answer is the expected one, where that says what it is. */
export function isAnswered({ expected, actual }: Pick<BlockRun, 'expected' | 'actual'>): boolean {
  if (expected === ANYTHING) return typeof actual === 'string'
  if (typeof expected !== 'object' || expected === null) return expected === actual
  if (typeof actual !== 'object' || actual === null) return false
  const keys = Object.keys(expected)
  const parts = new Map(Object.entries(actual))
  return (
    keys.join() === [...parts.keys()].join() &&
    Object.entries(expected).every(([key, part]) => isAnswered({ expected: part, actual: parts.get(key) }))
  )
}

/** Changes nothing, and may be asked before what was sent is counted. */
function isQuestion(commands: string): boolean {
  return commands.includes('/quota/check') || commands.includes('/balance')
}

function askUntilAnswered(run: () => Promise<BlockRun>): Promise<BlockRun> {
  return waitUntil(
    async () => {
      const last = await run()
      if (isAnswered(last)) return last
      throw new Error(`${last.commands}answered ${JSON.stringify(last.actual)}`)
    },
    { what: 'the documented answer', timeoutMs: ANSWERED_WITHIN_MS, pollIntervalMs: 250 }
  )
}

/** Each block is a shell of its own, which knows what the ones before it have set. */
async function runBlock(commands: string, folder: string, variables: Readonly<Record<string, string>>) {
  const keep = `{ declare -p CUSTOMER PLAN 2>&-; declare -f; } > state || true`
  const script = `cd '${folder}'\n[ ! -f state ] || . ./state\nset -e\n${commands}\n${keep}`
  const environment = { ...process.env, ...variables }
  const { exitCode, stdout, stderr } = await runProgram('bash', ['-c', script], { environment })
  if (exitCode !== 0) throw new Error(`a block ended with ${exitCode}: ${stderr}\n${commands}`)
  return stdout === '' ? undefined : JSON.parse(stdout)
}
