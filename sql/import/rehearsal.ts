// An import that reads and judges and writes nothing. It remembers the customers it would have made, for their users and
// subscriptions to be found, and every key it saw: unlike a real import it needs memory by the size of its source.

import {
  type Candidate,
  type CustomerImport,
  type CustomerStanding,
  type Duplicates,
  type ImportBatch,
  type ImportPart,
  type JudgedBatch,
  type PartProgress,
  type Standings,
  tellRefusal
} from '../../domain/customers/import/customer-import.ts'
import type { Database } from '../connect.ts'
import { duplicatesOf } from './customer-import.ts'
import { LOAD_STANDINGS } from './import-standings.ts'

export class RehearsedCustomerImport implements CustomerImport {
  readonly #database: Database
  readonly #tell: (line: string) => void
  readonly #imagined = new Map<string, CustomerStanding>()
  /** By part and key: the line that has it. */
  readonly #claimed = new Map<ImportPart, Map<string, number>>()

  /** `tell` gets each refused row as a line of the report, as soon as it is refused: nothing of them is kept here. */
  constructor(database: Database, tell: (line: string) => void) {
    this.#database = database
    this.#tell = tell
  }

  async begin(): Promise<ReadonlyMap<ImportPart, PartProgress>> {
    return new Map()
  }

  async apply<Part extends ImportPart>(
    { part, from, to, candidates }: ImportBatch<Part>,
    judge: (standing: Standings[Part], duplicates: Duplicates) => JudgedBatch
  ): Promise<JudgedBatch> {
    const what = `rehearse ${part} ${from.rows + 1} to ${to.rows}`
    const duplicates = this.#claimKeys(part, candidates)
    const judged = await this.#database.transaction(what, 'repeatable read read only', async (run) => {
      const loading = { run, candidates, isHeld: false, imagined: this.#imagined }
      return judge(await LOAD_STANDINGS[part](loading), duplicates)
    })
    for (const { next } of judged.customers) {
      const { id, kind, status, currency, timeZone } = next
      this.#imagined.set(next.externalId ?? '', { id, kind, status, currency, timeZone })
    }
    for (const refusal of judged.refusals) this.#tell(tellRefusal(refusal))
    return judged
  }

  async finish(): Promise<void> {
    this.#imagined.clear()
    this.#claimed.clear()
  }

  async *refusals(): AsyncGenerator<string> {
    // They were told as they came.
  }

  #claimKeys(part: ImportPart, candidates: readonly Candidate[]): Duplicates {
    const claimed = this.#claimed.get(part) ?? new Map<string, number>()
    this.#claimed.set(part, claimed)
    for (const { key, source } of candidates) if (!claimed.has(key)) claimed.set(key, source.line)
    return duplicatesOf(candidates, claimed)
  }
}
