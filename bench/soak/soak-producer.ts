/** This side of the producer's thread: what it last told, and how it ends. */
import { once } from 'node:events'
import { Worker } from 'node:worker_threads'
import type { SoakAccount } from './soak-traffic.ts'

export interface ProducerOrder {
  readonly brokers: string
  readonly topic: string
  readonly perSecond: number
  readonly seconds: number
  readonly customers: number
  readonly seed: number
}

export interface ProducerReport {
  /** Records that Kafka has acknowledged. */
  readonly sent: number
  readonly elapsedMs: number
  /** How long ago the next record was due. */
  readonly behindMs: number
  /** Why a request failed, which goes again. */
  readonly failure?: string
  /** With the last report. */
  readonly account?: SoakAccount
}

export class SoakProducer {
  readonly #worker: Worker
  readonly #onFailure: (failure: string) => void
  #report: ProducerReport = { sent: 0, elapsedMs: 0, behindMs: 0 }
  #mostBehindMs = 0
  #failures = 0

  constructor(order: ProducerOrder, onFailure: (failure: string) => void) {
    this.#onFailure = onFailure
    this.#worker = new Worker(new URL('./producer-thread.ts', import.meta.url), { workerData: order })
    this.#worker.on('message', (report: ProducerReport) => this.#hear(report))
  }

  get report(): ProducerReport {
    return this.#report
  }

  get mostBehindMs(): number {
    return this.#mostBehindMs
  }

  /** Requests that went again. */
  get failures(): number {
    return this.#failures
  }

  stop(): void {
    this.#worker.postMessage('stop')
  }

  /** Resolves with what must come out; rejects when the thread failed. */
  async ended(): Promise<SoakAccount> {
    while (this.#report.account === undefined) await once(this.#worker, 'message')
    return this.#report.account
  }

  /** Whatever it does, it ends. */
  async close(): Promise<void> {
    await this.#worker.terminate()
  }

  #hear(report: ProducerReport): void {
    this.#report = report
    this.#mostBehindMs = Math.max(this.#mostBehindMs, report.behindMs)
    if (report.failure === undefined) return
    this.#failures++
    this.#onFailure(report.failure)
  }
}
