/** What the API is given by its `main.ts`, and the type of the instance its routes are registered on. */
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import type { FastifyBaseLogger, FastifyInstance, RawServerDefault } from 'fastify'
import type {
  HoldOutcome,
  LimitMeter,
  LimitStore,
  QuotaMeter,
  UsageEventLog,
  UsageQueries
} from '../domain/api-ports.ts'
import type { DecodeLimits } from '../domain/tokens/decode-cloud-event.ts'
import type { ApiKey } from './authenticate.ts'

/** Fastify with routes typed by their TypeBox schemas. */
export type Api = FastifyInstance<
  RawServerDefault,
  IncomingMessage,
  ServerResponse,
  FastifyBaseLogger,
  TypeBoxTypeProvider
>

/** Whether requests should be sent here, and how each service fares that the API uses. */
export interface Readiness {
  readonly ready: boolean
  readonly checks: readonly {
    readonly name: string
    readonly ready: boolean
    /** Why not; never a credential or an address. */
    readonly reason?: string
  }[]
}

/** Who is told what happened, for metrics. */
export interface ApiObserver {
  /** `route` is the pattern, never the address. */
  answered(answer: {
    readonly method: string
    readonly route: string
    readonly status: number
    readonly elapsedMs: number
  }): void
  checked(outcome: 'allowed' | 'refused' | 'unknown' | 'unknown-customer'): void
  /** Of a hold taken, extended or ended. */
  held(outcome: HoldOutcome['outcome']): void
}

export interface ApiDependencies {
  /** Of the product, for the OpenAPI document. */
  readonly version: string
  readonly quotaMeter: QuotaMeter
  readonly limitMeter: Pick<LimitMeter, 'setLimits' | 'balance'>
  readonly limitStore: LimitStore
  readonly usageQueries: UsageQueries
  readonly usageEventLog: UsageEventLog
  readonly apiKeys: readonly ApiKey[]
  /** By the same rules as the consumer of the topic has them. */
  readonly decodeLimits: DecodeLimits
  /** Milliseconds since the epoch. */
  readonly now: () => number
  readonly logger: FastifyBaseLogger
  /** Answers within its own deadline and never throws. */
  readonly readiness: () => Promise<Readiness>
  /** The Prometheus text and its content type. */
  readonly metrics: () => Promise<{ readonly contentType: string; readonly text: string }>
  readonly observer: ApiObserver
  /** Browser origins that may call the API; empty: none. */
  readonly corsOrigins: readonly string[]
  /** Mean delay of the event loop within a second beyond which requests are refused; 0: none is. */
  readonly eventLoopDelayMaxMs: number
}
