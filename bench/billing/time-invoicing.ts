/** What a job that invoices takes of this process, in which it runs. */
import { Client } from 'pg'

export interface TimedInvoicing {
  readonly seconds: number
  /** To Postgres, by whoever of this process; begin and commit too. */
  readonly statements: number
  /** Processor time of this process. */
  readonly cpuMicros: number
}

export async function timeInvoicing<Outcome>(bill: () => Promise<Outcome>): Promise<Outcome & TimedInvoicing> {
  const statements = countStatements()
  const startedAt = performance.now()
  const before = process.cpuUsage()
  try {
    const outcome = await bill()
    const seconds = (performance.now() - startedAt) / 1_000
    const { user, system } = process.cpuUsage(before)
    return { ...outcome, seconds, statements: statements.count(), cpuMicros: user + system }
  } finally {
    statements.stop()
  }
}

/** `stop` leaves the driver as it was. */
function countStatements(): { readonly count: () => number; readonly stop: () => void } {
  let count = 0
  const { query } = Client.prototype
  Client.prototype.query = new Proxy(query, {
    apply(target, self, args) {
      count++
      return Reflect.apply(target, self, args)
    }
  })
  return {
    count: () => count,
    stop: () => {
      Client.prototype.query = query
    }
  }
}
