/**
 * Kills the own process at a stated call of a port, for fault tests: `before:ledger.flush:3` when the third call of the
 * ledger's `flush` is about to be made, `after:ledger.flush:3` when it was answered and the caller does not know yet.
 * SIGKILL: nothing is flushed, closed or said, as when the machine is gone.
 */
interface CrashPoint {
  readonly when: 'before' | 'after'
  readonly port: string
  readonly method: string
  readonly call: number
}

/** The port itself unless `crashAt` names it. Throws on a `crashAt` that can't be read or names no method of the port. */
export function withCrashPoints<T extends object>(name: string, port: T, crashAt: string | undefined): T {
  if (crashAt === undefined) return port
  const point = parseCrashPoint(crashAt)
  if (point.port !== name) return port
  const method: unknown = Reflect.get(port, point.method)
  if (typeof method !== 'function') throw new Error(`CRASH_AT names ${name}.${point.method}, which is no method`)

  let calls = 0
  const crashing = async (...args: unknown[]): Promise<unknown> => {
    const isTheCall = ++calls === point.call
    if (isTheCall && point.when === 'before') die()
    // On the port itself: a proxy has none of its private fields.
    const answer: unknown = await Reflect.apply(method, port, args)
    if (isTheCall && point.when === 'after') die()
    return answer
  }
  return new Proxy(port, {
    get(target, property) {
      if (property === point.method) return crashing
      const value: unknown = Reflect.get(target, property)
      return typeof value === 'function' ? value.bind(target) : value
    }
  })
}

function parseCrashPoint(crashAt: string): CrashPoint {
  const { when, port, method, call } =
    /^(?<when>before|after):(?<port>[\w-]+)\.(?<method>\w+):(?<call>[1-9]\d*)$/.exec(crashAt)?.groups ?? {}
  if ((when !== 'before' && when !== 'after') || port === undefined || method === undefined) {
    throw new Error(`CRASH_AT must be before|after:NAME.method:n, not ${crashAt}`)
  }
  return { when, port, method, call: Number(call) }
}

/** The signal has ended the process by the time the system call returns. */
function die(): void {
  process.kill(process.pid, 'SIGKILL')
}
