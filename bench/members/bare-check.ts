/**
 * What a check costs when nothing is checked: Fastify with its defaults, one route that takes the same JSON as POST /v1/quota/check,
 * one GET of the customer's counter by ioredis with autopipelining, a JSON answer. It knows no caller, validates nothing, has one
 * counter for each customer with no window, no user and no hold, and can't tell whether what it counts is up to date.
 * Environment: REDIS_URL, BENCH_PORT, BENCH_PREFIX, BENCH_MAX.
 */
import Fastify from 'fastify'
import { Redis } from 'ioredis'

const { REDIS_URL = '', BENCH_PORT = '', BENCH_PREFIX = '', BENCH_MAX = '' } = process.env
const max = Number(BENCH_MAX)
const redis = new Redis(REDIS_URL, { enableAutoPipelining: true })
const app = Fastify()

interface Check {
  readonly customerId: string
  readonly tokens: { readonly input: number; readonly output: number }
}

app.post<{ Body: Check }>('/check', async ({ body: { customerId, tokens } }) => {
  const used = Number(await redis.get(`${BENCH_PREFIX}:used:${customerId}`))
  return { allowed: used + tokens.input + tokens.output <= max, used, remaining: Math.max(0, max - used) }
})

process.once('SIGTERM', () => {
  redis.disconnect()
  void app.close()
})
await app.listen({ host: '127.0.0.1', port: Number(BENCH_PORT) })
console.log('ready')
