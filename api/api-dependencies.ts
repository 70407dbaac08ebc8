/** What the API is given by its `main.ts`, and the type of the instance its routes are registered on. */
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import type { FastifyBaseLogger, FastifyInstance, RawServerDefault } from 'fastify'
import type { LimitMeter, LimitStore, QuotaMeter, Standing, UsageEventLog, UsageQueries } from '../domain/ports.ts'
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

/** What a balance asks of the meter. */
export interface BalanceMeter {
  /**
   * Every limit of the customer at one moment, whoever it is for; one of each user or each model only for the user or model that
   * is named (empty: none). `limits: null`: the customer is not known.
   */
  balance(customerId: string, userId: string, model: string): Promise<Standing>
}

/** One service the API needs, as `/readyz` tells of it. */
export interface Readiness {
  readonly name: string
  readonly ready: boolean
  /** Why not; never a credential or an address. */
  readonly reason?: string
}

export interface ApiDependencies {
  readonly quotaMeter: QuotaMeter & BalanceMeter
  readonly limitMeter: LimitMeter
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
  readonly readiness: () => Promise<readonly Readiness[]>
  /** The Prometheus text and its content type. */
  readonly metrics: () => Promise<{ readonly contentType: string; readonly text: string }>
  /** Told of each answer: for metrics. `route` is the pattern, never the address. */
  readonly onAnswer: (answer: {
    readonly method: string
    readonly route: string
    readonly status: number
    readonly elapsedMs: number
  }) => void
  /** Browser origins that may call the API; empty: none. */
  readonly corsOrigins: readonly string[]
}
