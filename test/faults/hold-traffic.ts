/** Calls that are made only under a hold: what they use must never pass the limit, whatever dies on the way. */
import { setTimeout as sleep } from 'node:timers/promises'
import type { Producer } from 'kafkajs'
import { NO_TOKENS } from '../../domain/tokens/token-pools.ts'
import { Random } from '../../stack/demo/random.ts'
import type { FaultSystem } from './fault-system.ts'
import { limitOf, type QuotaSide, windowAroundNow } from './quota-side.ts'

export const RESERVING_CUSTOMER = 'reserving'
const MAX = 20_000
const ESTIMATE_MAX = 200
const PACE_MS = 30
/** Longer than a count may lag before checks answer that they can't know. */
const TTL_MS = 30_000
const ABANDONED_TTL_MS = 2_000
/** A hold older than this has been counted or has run out, or the meter would have refused to know. */
const OPEN_MS = 15_000
/** Holds that are admitted between a look at what is held and a loss. */
const MEANWHILE_HOLDS_MAX = 3

export class HoldTraffic {
  /** Outcomes of asking for a hold. */
  readonly outcomes = new Map<string, number>()
  #asked = 0
  #used = 0
  /** What holds may have been worth that went with Redis: no promise covers those. */
  #lost = 0
  readonly #admitted: { readonly at: number; readonly estimate: number }[] = []
  readonly #quota: QuotaSide
  readonly #system: FaultSystem
  readonly #producer: Producer
  readonly #random = new Random(11)
  #isWanted = false
  #running: Promise<void> = Promise.resolve()

  constructor(system: FaultSystem, quota: QuotaSide) {
    this.#quota = quota
    this.#system = system
    this.#producer = system.kafka.producer({ allowAutoTopicCreation: false })
  }

  async start(): Promise<void> {
    await this.#producer.connect()
    await this.#quota.setLimits(RESERVING_CUSTOMER, [limitOf({ id: 'all', window: windowAroundNow(), max: MAX })])
    this.#isWanted = true
    this.#running = this.#run()
  }

  async stop(): Promise<void> {
    this.#isWanted = false
    await this.#running
  }

  async close(): Promise<void> {
    await this.stop()
    await this.#producer.disconnect()
  }

  /** To be called before Redis loses data: whatever is held may be gone, and what is admitted while this is asked. */
  async noteLoss(): Promise<void> {
    const held = await this.held()
    this.#lost += (held ?? this.#recentEstimates()) + MEANWHILE_HOLDS_MAX * ESTIMATE_MAX
  }

  #recentEstimates(): number {
    const since = Date.now() - OPEN_MS
    return this.#admitted.filter(({ at }) => at >= since).reduce((sum, { estimate }) => sum + estimate, 0)
  }

  /** A sentence when more was admitted than the limit and what Redis lost allow. */
  faults(): string[] {
    const most = MAX + this.#lost
    return this.#used > most ? [`${this.#used} tokens admitted; the limit and lost holds allow ${most}`] : []
  }

  /** What holds still reserve; null while the meter can't know. */
  async held(): Promise<number | null> {
    const standing = await this.#quota.meter.balance(RESERVING_CUSTOMER, '', '')
    if (!standing.known || standing.limits === null) return null
    return standing.limits.reduce((sum, { held }) => sum + held, 0)
  }

  summary(): string {
    const outcomes = [...this.outcomes].map(([outcome, count]) => `${count} ${outcome}`).join(', ')
    return `${this.#used} of ${MAX} tokens used under holds (${this.#lost} lost with Redis): ${outcomes}`
  }

  async #run(): Promise<void> {
    while (this.#isWanted) {
      await this.#call(`hold-${this.#asked++}`)
      await sleep(PACE_MS)
    }
  }

  async #call(holdId: string): Promise<void> {
    const estimate = 1 + this.#random.below(ESTIMATE_MAX)
    const actual = 1 + this.#random.below(estimate)
    const isAbandoned = this.#random.next() < 0.1
    const { outcome } = await this.#quota.meter.hold({
      customerId: RESERVING_CUSTOMER,
      userId: '',
      model: 'model-a',
      tokens: { ...NO_TOKENS, input: estimate },
      holdId,
      ttlMs: isAbandoned ? ABANDONED_TTL_MS : TTL_MS
    })
    this.outcomes.set(outcome, (this.outcomes.get(outcome) ?? 0) + 1)
    if (outcome !== 'held') return
    this.#admitted.push({ at: Date.now(), estimate })
    if (isAbandoned) return
    this.#used += actual
    await this.#producer.send({
      topic: this.#system.installation.usageTopic,
      messages: [usageMessage({ customerId: RESERVING_CUSTOMER, id: holdId, holdId, input: actual })],
      acks: -1
    })
  }
}

/** One usage event of now. */
export function usageMessage(event: { customerId: string; id: string; input: number; holdId?: string }) {
  const { customerId, id, input, holdId } = event
  const data = { model: 'model-a', provider: 'test', tokens: { input }, ...(holdId === undefined ? {} : { holdId }) }
  const envelope = {
    specversion: '1.0',
    id,
    source: 'faults',
    type: 'ai.tokens.used',
    subject: customerId,
    time: new Date().toISOString(),
    data
  }
  return { key: customerId, value: JSON.stringify(envelope) }
}
