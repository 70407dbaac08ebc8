/**
 * Notices which customers come near the end of a limit, beside the way of an event and never on it: it is told whose usage the
 * ledger got, and some seconds later asks the meter how their limits stand, unless they can't have come to a threshold since they were
 * last asked for (quiet-customers.ts).
 *
 * What it remembers is lost with the process. So whoever opens a partition looks at every customer once: what a dead process had
 * not told yet is told then. What both noticed is told once, by the notices' own key. While the meter can't know, or the notices
 * can't be written, a customer stays to be looked at. What was used in the last seconds of a window goes untold: it is over.
 * For each user or model, only those are asked for who used something since the process began.
 */
import type { LimitMeter } from '../../domain/api-ports.ts'
import type { LedgerRow } from '../../domain/ports.ts'
import {
  noticeKey,
  noticesOf,
  type QuotaNotice,
  type QuotaNotices,
  type StandingOf,
  tokensToNextNotice
} from '../../domain/quota-threshold.ts'
import type { CustomerLimits } from '../../domain/tokens/limit.ts'
import { TOKEN_POOLS, type TokenPools } from '../../domain/tokens/token-pools.ts'
import { nameOf, QuietCustomers, type Touched } from './quiet-customers.ts'

export interface ThresholdWatchPorts {
  readonly meter: Pick<LimitMeter, 'balance'>
  readonly notices: QuotaNotices
  /** Percents of a limit, such as 80 and 100. */
  readonly percents: readonly number[]
  readonly now: () => number
}

type Usage = Pick<LedgerRow, 'customerId' | 'userId' | 'model' | 'tokens'>

/** Questions on their way to the meter at once: it has checks to answer. */
const QUESTIONS_AT_ONCE = 20
const CUSTOMERS_AT_ONCE = 500
/** Remembered so as not to write them again and again; forgetting costs a statement that changes nothing. */
const TOLD_MAX = 100_000

export class ThresholdWatch {
  readonly #ports: ThresholdWatchPorts
  readonly #told = new Set<string>()
  readonly #quiet = new QuietCustomers()
  /** By customer and name. */
  #touched = new Map<string, Map<string, Touched>>()
  /** The customer after which the look at everybody goes on; null when it is done. */
  #everybodyAfter: string | null = null

  constructor(ports: ThresholdWatchPorts) {
    this.#ports = ports
  }

  /** This usage is in the ledger. */
  touch(usage: readonly Usage[]): void {
    for (const { customerId, userId, model, tokens } of usage) {
      this.#touch({ customerId, userId, model, tokens: mostOf(tokens) })
    }
  }

  /** Somebody else may have noticed something and died before it was told. */
  touchEverybody(): void {
    this.#everybodyAfter = ''
  }

  /** Looks at whoever is to be looked at. A throw leaves them to the next round. */
  async round(): Promise<void> {
    await this.#lookAtEverybody()
    const now = this.#ports.now()
    const due = [...this.#touched].filter(
      ([customerId, usage]) => !this.#quiet.staysQuietAfter(customerId, usage.values(), now)
    )
    const touched = new Map(due)
    this.#touched = new Map()
    try {
      for (let from = 0; from < due.length; from += CUSTOMERS_AT_ONCE) {
        const chunk = due.slice(from, from + CUSTOMERS_AT_ONCE).map(([customerId]) => customerId)
        const limits = await this.#ports.notices.limitsOf(chunk)
        const questions = limits.flatMap((one) => questionsOf(one, [...(touched.get(one.customerId)?.values() ?? [])]))
        const answers = Map.groupBy(await this.#look(questions), ({ usage }) => usage.customerId)
        const limitsOf = new Map(limits.map((one) => [one.customerId, one]))
        for (const customerId of chunk) {
          this.#remember(customerId, limitsOf.get(customerId), answers.get(customerId) ?? [])
          touched.delete(customerId)
        }
      }
    } finally {
      for (const usage of touched.values()) for (const one of usage.values()) this.#touch(one)
    }
  }

  /** A page a round, so that it does not get in the way of who is there now. */
  async #lookAtEverybody(): Promise<void> {
    const after = this.#everybodyAfter
    if (after === null) return
    const { limits, next } = await this.#ports.notices.limitsAfter(after)
    await this.#look(
      limits.map((one) => ({ limits: one, usage: { customerId: one.customerId, userId: '', model: '', tokens: 0 } }))
    )
    // Begun anew meanwhile: then it goes on from the start.
    if (this.#everybodyAfter === after) this.#everybodyAfter = next
  }

  /** Tells what reached a threshold, and answers what was found. */
  async #look(questions: readonly Question[]): Promise<readonly Answer[]> {
    const answers: Answer[] = []
    for (let from = 0; from < questions.length; from += QUESTIONS_AT_ONCE) {
      const some = questions.slice(from, from + QUESTIONS_AT_ONCE)
      answers.push(...(await Promise.all(some.map((question) => this.#ask(question)))))
    }
    const noticed = new Map<string, QuotaNotice>()
    for (const { standings } of answers) {
      for (const one of standings) {
        for (const notice of noticesOf(one, this.#ports.percents, this.#ports.now())) {
          noticed.set(noticeKey(notice), notice)
        }
      }
    }
    const untold = [...noticed].filter(([key]) => !this.#told.has(key))
    await this.#ports.notices.record(untold.map(([, notice]) => notice))
    if (this.#told.size > TOLD_MAX) this.#told.clear()
    for (const [key] of untold) this.#told.add(key)
    return answers
  }

  async #ask({ limits, usage }: Question): Promise<Answer> {
    const { customerId, userId, model } = usage
    const standing = await this.#ports.meter.balance(customerId, userId, model)
    // The meter has not been told of the limits yet, or can't know.
    if (standing.limits === null || !standing.known) {
      this.#touch(usage)
      return { usage, standings: [], isWhole: false }
    }
    const byId = new Map(limits.limits.map((limit) => [limit.id, limit]))
    const isWhole = standing.limits.every(({ unknown }) => unknown === null)
    if (!isWhole) this.#touch(usage)
    const standings = standing.limits.flatMap((one) => {
      const limit = byId.get(one.id)
      return one.unknown !== null || limit === undefined ? [] : [{ customerId, userId, model, limit, standing: one }]
    })
    return { usage, standings, isWhole }
  }

  /** How far the customer is from its next threshold, as the answers say. */
  #remember(customerId: string, limits: CustomerLimits | undefined, answers: readonly Answer[]): void {
    if (answers.some(({ isWhole }) => !isWhole)) {
      this.#quiet.forget(customerId)
      return
    }
    const standings = answers.flatMap((answer) => answer.standings)
    const calendar = standings.filter(({ limit }) => limit.window.kind !== 'rolling')
    const look = {
      tokensToNext: Math.min(...standings.map((one) => tokensToNextNotice(one, this.#ports.percents))),
      windowEnd: Math.min(...calendar.map(({ standing }) => standing.resetsAt)),
      names: limits !== undefined && isByName(limits) ? new Set(answers.map(({ usage }) => nameOf(usage))) : null
    }
    this.#quiet.remember(customerId, look, this.#ports.now())
  }

  #touch(one: Touched): void {
    const ofCustomer = this.#touched.get(one.customerId) ?? new Map<string, Touched>()
    const before = ofCustomer.get(nameOf(one))
    ofCustomer.set(nameOf(one), before === undefined ? one : { ...one, tokens: before.tokens + one.tokens })
    this.#touched.set(one.customerId, ofCustomer)
  }
}

interface Question {
  readonly limits: CustomerLimits
  readonly usage: Touched
}

interface Answer {
  readonly usage: Touched
  /** Limits that the meter knows. */
  readonly standings: readonly StandingOf[]
  /** Whether it knows all. */
  readonly isWhole: boolean
}

/** One question answers all limits of a customer but those for each user or model, which are asked for by name. */
function questionsOf(limits: CustomerLimits, usage: readonly Touched[]): readonly Question[] {
  return (isByName(limits) ? usage : usage.slice(0, 1)).map((one) => ({ limits, usage: one }))
}

function isByName({ limits }: CustomerLimits): boolean {
  return limits.some(({ scope }) => scope.kind === 'each-user' || scope.kind === 'each-model')
}

/** What tokens can come to in any measure that counts each once: what one pool gives back, another may have used. */
function mostOf(tokens: TokenPools): number {
  return TOKEN_POOLS.reduce((sum, pool) => sum + Math.max(0, tokens[pool]), 0)
}
