import { createWriteStream, mkdirSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { prettyFactory } from 'pino-pretty'
import { stackFolder } from '../services.ts'

const COLOURS = [36, 35, 33, 32, 34]

/** One readable log of several processes: each line behind its process's name, pino's JSON made legible. */
export function createProcessLog(
  names: readonly string[],
  write: (text: string) => void
): (name: string, line: string) => void {
  const isColoured = process.stdout.isTTY === true && process.env.NO_COLOR === undefined
  const format = prettyFactory({
    colorize: isColoured,
    ignore: 'pid,hostname,name,process',
    singleLine: true,
    translateTime: 'SYS:HH:MM:ss.l'
  })
  const width = Math.max(...names.map((name) => name.length))
  return (name, line) => {
    const colour = COLOURS[names.indexOf(name) % COLOURS.length] ?? 0
    const label = name.padEnd(width)
    const prefix = isColoured ? `\u001b[${colour}m${label}\u001b[0m` : label
    for (const part of format(line).trimEnd().split('\n')) write(`${prefix} | ${part}\n`)
  }
}

export interface KeptLog {
  readonly file: string
  readonly onLine: (name: string, line: string) => void
  end(): void
}

/** Every line goes to a file under `.stack/logs/`; to standard error goes what is an error, or no log line at all. */
export function keepProcessLog(names: readonly string[], fileName: string): KeptLog {
  const file = join(stackFolder(), 'logs', fileName)
  mkdirSync(dirname(file), { recursive: true })
  const stream = createWriteStream(file)
  const keep = createProcessLog(names, (text) => stream.write(text))
  const say = createProcessLog(names, (text) => process.stderr.write(text))
  return {
    file,
    onLine: (name, line) => {
      keep(name, line)
      if (!line.startsWith('{') || /"level":"(error|fatal)"/.test(line)) say(name, line)
    },
    end: () => stream.end()
  }
}
