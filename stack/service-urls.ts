/** Where the services are that run: as the environment says, else as the stack of this project recorded. */
import { readStackRecord, type ServiceUrls, stackFolder } from './services.ts'

export function serviceUrls(): ServiceUrls {
  return {
    KAFKA_BROKERS: serviceUrl('KAFKA_BROKERS'),
    REDIS_URL: serviceUrl('REDIS_URL'),
    DATABASE_URL: serviceUrl('DATABASE_URL'),
    CLICKHOUSE_URL: serviceUrl('CLICKHOUSE_URL')
  }
}

/** One of them, for whoever needs no other. Throws with the command that starts the stack. */
export function serviceUrl(name: keyof ServiceUrls): string {
  const url = process.env[name] ?? readStackRecord(stackFolder())?.urls[name]
  if (!url) throw new Error(`${name} is not set and no stack is up: run npm run stack:up`)
  return url
}

/** The Redis of the job queue beside a meter's: as the environment says, else database 1 of the same server. */
export function billingRedisUrl(redisUrl: string): string {
  const { BILLING_REDIS_URL: given } = process.env
  if (given) return given
  // A cluster has no database 1: the queue is then on the stack's own server.
  const url = new URL(redisUrl.includes(',') ? serviceUrl('REDIS_URL') : redisUrl)
  url.pathname = '/1'
  return url.href
}
