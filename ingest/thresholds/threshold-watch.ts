/**
 * Notices which customers come near the end of a limit, beside the way of an event and never on it: it is told whose usage the
 * ledger got, and some seconds later asks the meter how their limits stand.
 *
 * What it remembers is lost with the process. So whoever opens a partition looks at every customer once: what a dead process had
 * not told yet is told then. What both noticed is told once, by the notices' own key. While the meter can't know, or the notices
 * can't be written, a customer stays to be looked at. What was used in the last seconds of a window goes untold: it is over.
 * For each user or model, only those are asked for who used something since the process began.
 */
import type { LimitMeter } from '../../domain/api-ports.ts'
import type { LedgerRow } from '../../domain/ports.ts'
import { noticeKey, noticesOf, type QuotaNotice, type QuotaNotices } from '../../domain/quota-threshold.ts'
import type { CustomerLimits } from '../../domain/tokens/limit.ts'

export interface ThresholdWatchPorts {
  readonly meter: Pick<LimitMeter, 'balance'>
  readonly notices: QuotaNotices
  /** Percents of a limit, such as 80 and 100. */
  readonly percents: readonly number[]
  readonly now: () => number
}

type Usage = Pick<LedgerRow, 'customerId' | 'userId' | 'model'>

/** Questions on their way to the meter at once: it has checks to answer. */
const QUESTIONS_AT_ONCE = 20
const CUSTOMERS_AT_ONCE = 500
/** Remembered so as not to write them again and again; forgetting costs a statement that changes nothing. */
const TOLD_MAX = 100_000

export class ThresholdWatch {
  readonly #ports: ThresholdWatchPorts
  readonly #told = new Set<string>()
  #touched = new Map<string, Map<string, Usage>>()
  /** The customer after which the look at everybody goes on; null when it is done. */
  #everybodyAfter: string | null = null

  constructor(ports: ThresholdWatchPorts) {
    this.#ports = ports
  }

  /** This usage is in the ledger. */
  touch(usage: readonly Usage[]): void {
    for (const one of usage) {
      const { customerId, userId, model } = one
      const ofCustomer = this.#touched.get(customerId) ?? new Map<string, Usage>()
      ofCustomer.set(JSON.stringify([userId, model]), { customerId, userId, model })
      this.#touched.set(customerId, ofCustomer)
    }
  }

  /** Somebody else may have noticed something and died before it was told. */
  touchEverybody(): void {
    this.#everybodyAfter = ''
  }

  /** Looks at whoever is to be looked at. A throw leaves them to the next round. */
  async round(): Promise<void> {
    await this.#lookAtEverybody()
    const touched = this.#touched
    this.#touched = new Map()
    try {
      const customerIds = [...touched.keys()]
      for (let from = 0; from < customerIds.length; from += CUSTOMERS_AT_ONCE) {
        const chunk = customerIds.slice(from, from + CUSTOMERS_AT_ONCE)
        const limits = await this.#ports.notices.limitsOf(chunk)
        await this.#look(limits.flatMap((one) => questionsOf(one, [...(touched.get(one.customerId)?.values() ?? [])])))
        for (const customerId of chunk) touched.delete(customerId)
      }
    } finally {
      for (const usage of touched.values()) this.touch([...usage.values()])
    }
  }

  /** A page a round, so that it does not get in the way of who is there now. */
  async #lookAtEverybody(): Promise<void> {
    const after = this.#everybodyAfter
    if (after === null) return
    const { limits, next } = await this.#ports.notices.limitsAfter(after)
    await this.#look(
      limits.map((one) => ({ limits: one, usage: { customerId: one.customerId, userId: '', model: '' } }))
    )
    // Begun anew meanwhile: then it goes on from the start.
    if (this.#everybodyAfter === after) this.#everybodyAfter = next
  }

  async #look(questions: readonly Question[]): Promise<void> {
    const noticed = new Map<string, QuotaNotice>()
    for (let from = 0; from < questions.length; from += QUESTIONS_AT_ONCE) {
      const answers = await Promise.all(
        questions.slice(from, from + QUESTIONS_AT_ONCE).map((question) => this.#ask(question))
      )
      for (const notice of answers.flat()) noticed.set(noticeKey(notice), notice)
    }
    const untold = [...noticed].filter(([key]) => !this.#told.has(key))
    await this.#ports.notices.record(untold.map(([, notice]) => notice))
    if (this.#told.size > TOLD_MAX) this.#told.clear()
    for (const [key] of untold) this.#told.add(key)
  }

  async #ask({ limits, usage }: Question): Promise<readonly QuotaNotice[]> {
    const { customerId, userId, model } = usage
    const standing = await this.#ports.meter.balance(customerId, userId, model)
    // The meter has not been told of the limits yet, or can't know.
    if (standing.limits === null || !standing.known) {
      this.touch([usage])
      return []
    }
    const byId = new Map(limits.limits.map((limit) => [limit.id, limit]))
    const now = this.#ports.now()
    return standing.limits.flatMap((one) => {
      const limit = byId.get(one.id)
      if (one.unknown !== null) this.touch([usage])
      if (one.unknown !== null || limit === undefined) return []
      return noticesOf({ customerId, userId, model, limit, standing: one }, this.#ports.percents, now)
    })
  }
}

interface Question {
  readonly limits: CustomerLimits
  readonly usage: Usage
}

/** One question answers all limits of a customer but those for each user or model, which are asked for by name. */
function questionsOf(limits: CustomerLimits, usage: readonly Usage[]): readonly Question[] {
  const isByName = limits.limits.some(({ scope }) => scope.kind === 'each-user' || scope.kind === 'each-model')
  return (isByName ? usage : usage.slice(0, 1)).map((one) => ({ limits, usage: one }))
}
