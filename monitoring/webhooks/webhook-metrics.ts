/** Webhooks, as the process that posts them tells it. */
import { Counter, type Registry } from 'prom-client'
import { type Attempt, DELIVERY_FAULTS } from '../../domain/webhooks/webhook-delivery.ts'

const DELIVERED = 'delivered'

/** Answers what counts an attempt. */
export function countsAttempts(registry: Registry): (attempt: Attempt) => void {
  const attempts = new Counter({
    name: 'tokenmeter_webhook_attempts_total',
    help: 'Attempts to deliver a webhook, by what came of them: `delivered`, or why not.',
    labelNames: ['outcome'],
    registers: [registry]
  })
  for (const outcome of [DELIVERED, ...DELIVERY_FAULTS]) attempts.labels(outcome).inc(0)
  return (attempt) => attempts.inc({ outcome: attempt.delivered ? DELIVERED : attempt.fault })
}
