/** kcat, a Kafka client that shares no code with ours: what it produces, any producer may. */
import { findProgram, isInstalled } from '../../stack/machine/find-program.ts'
import { installMissing } from '../../stack/machine/packages.ts'
import { runProgram } from './run-program.ts'

/** Installs what is missing when this user may, else fails with the command that does. */
export async function ensureClients(): Promise<void> {
  const missing = (): string[] => ['kcat', 'curl'].filter((name) => !isInstalled(() => findProgram(name)))
  await installMissing(missing, () => undefined)
}

export interface KcatRecord {
  readonly key: string
  readonly headers: Readonly<Record<string, string>>
  readonly value: string
}

/** Puts one record on the topic; resolves when the broker has it. kcat's own partitioner chooses where. */
export async function kcatProduce(brokers: string, topic: string, record: KcatRecord): Promise<void> {
  const headers = Object.entries(record.headers).flatMap(([name, value]) => ['-H', `${name}=${value}`])
  const args = ['-P', '-b', brokers, '-t', topic, '-k', record.key, ...headers, '-D', '\\x1e']
  const { exitCode, stderr } = await runProgram(findProgram('kcat'), args, { input: record.value })
  if (exitCode !== 0) throw new Error(`kcat ended with ${exitCode}: ${stderr}`)
}

export interface CurlAnswer {
  readonly status: number
  readonly contentType: string
  readonly body: string
}

/** Asks the API by curl, with a key in the header, as an operator would. */
export async function curl(url: string, key: string, ...more: readonly string[]): Promise<CurlAnswer> {
  const told = '\n%{http_code} %{content_type}'
  const args = ['--silent', '--show-error', '--header', `X-API-Key: ${key}`, '--write-out', told, ...more, url]
  const { exitCode, stdout, stderr } = await runProgram(findProgram('curl'), args)
  if (exitCode !== 0) throw new Error(`curl ended with ${exitCode}: ${stderr}`)
  const end = stdout.lastIndexOf('\n')
  const [status = '', ...contentType] = stdout.slice(end + 1).split(' ')
  return { status: Number(status), contentType: contentType.join(' '), body: stdout.slice(0, end) }
}
