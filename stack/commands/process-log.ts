import { prettyFactory } from 'pino-pretty'

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
