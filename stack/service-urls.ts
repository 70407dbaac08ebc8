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
