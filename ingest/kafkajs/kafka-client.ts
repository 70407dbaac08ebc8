/** How every Kafka connection of the product is made: addresses, timeouts, logging, and what its errors mean. */
import kafkajs, { Kafka, type KafkaConfig, logLevel } from 'kafkajs'
import { RetryableError } from '../../domain/errors.ts'
import { decodeRecordsOurselves } from './decode-record.ts'
import { stopIdleTimers } from './idle-timer.ts'

/** What the Kafka side asks of a logger; pino's has it. */
export interface Logger {
  debug(fields: object, message: string): void
  info(fields: object, message: string): void
  warn(fields: object, message: string): void
  error(fields: object, message: string): void
}

export interface KafkaAddress {
  /** `host:port`, at least one. */
  readonly brokers: readonly string[]
  /** Names the process in the broker's logs and quotas. */
  readonly clientId: string
  readonly ssl?: NonNullable<KafkaConfig['ssl']>
  readonly sasl?: NonNullable<KafkaConfig['sasl']>
}

/** The variables of the configuration that say how brokers are reached. */
export interface KafkaVariables {
  readonly KAFKA_BROKERS: readonly string[]
  readonly KAFKA_CLIENT_ID: string
  readonly KAFKA_TLS: boolean
  readonly KAFKA_SASL_MECHANISM?: 'plain' | 'scram-sha-256' | 'scram-sha-512'
  readonly KAFKA_SASL_USERNAME?: string
  readonly KAFKA_SASL_PASSWORD?: string
}

export function kafkaAddress(config: KafkaVariables): KafkaAddress {
  const {
    KAFKA_SASL_MECHANISM: mechanism,
    KAFKA_SASL_USERNAME: username = '',
    KAFKA_SASL_PASSWORD: password = ''
  } = config
  return {
    brokers: config.KAFKA_BROKERS,
    clientId: config.KAFKA_CLIENT_ID,
    ssl: config.KAFKA_TLS,
    ...(mechanism !== undefined && { sasl: saslOf(mechanism, username, password) })
  }
}

function saslOf(
  mechanism: 'plain' | 'scram-sha-256' | 'scram-sha-512',
  username: string,
  password: string
): NonNullable<KafkaAddress['sasl']> {
  // Said one by one: the library's type is a union over the mechanism.
  if (mechanism === 'plain') return { mechanism, username, password }
  return mechanism === 'scram-sha-256' ? { mechanism, username, password } : { mechanism, username, password }
}

const CONNECTION_TIMEOUT_MS = 2_000
/** A request that a broker has not answered by then is given up. A fetch or a join waits for as long as it was told to. */
const REQUEST_TIMEOUT_MS = 5_000
/** About three seconds of patience; whoever called then decides, and a group consumer starts over by itself. */
const RETRY = { initialRetryTime: 100, maxRetryTime: 1_000, retries: 5 }

export function createKafka(address: KafkaAddress, logger: Logger): Kafka {
  stopIdleTimers()
  decodeRecordsOurselves()
  return new Kafka({
    brokers: [...address.brokers],
    clientId: address.clientId,
    connectionTimeout: CONNECTION_TIMEOUT_MS,
    requestTimeout: REQUEST_TIMEOUT_MS,
    retry: RETRY,
    ...(address.ssl === undefined ? {} : { ssl: address.ssl }),
    ...(address.sasl === undefined ? {} : { sasl: address.sasl }),
    // Below a warning the library tells of each pause and each request.
    logLevel: logLevel.WARN,
    logCreator: () => (entry) => {
      const { message, timestamp: _, ...fields } = entry.log
      // It logs as errors what it is about to try again; what fails for good comes to us as an exception or a crash.
      logger.warn({ ...fields, namespace: entry.namespace }, `kafkajs: ${message}`)
    }
  })
}

// A CommonJS module whose error classes Node's import can't see by name.
const { KafkaJSError, KafkaJSNumberOfRetriesExceeded } = kafkajs

/** Tells errors that may pass (`RetryableError`, code `log-unavailable`) from defects, which are handed on as they are. */
export function translateKafkaError(error: unknown, doing: string): Error {
  if (error instanceof KafkaJSError && (error.retriable || error instanceof KafkaJSNumberOfRetriesExceeded)) {
    return new RetryableError('log-unavailable', `cannot ${doing}: ${error.message}`, { cause: error })
  }
  return error instanceof Error ? error : new Error(`cannot ${doing}: ${String(error)}`)
}
