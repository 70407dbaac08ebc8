/** The numbers of the audit consumer. */
import { Counter, type Registry } from 'prom-client'

export interface AuditMetrics {
  readonly records: Counter<'outcome'>
}

export type CountedReport =
  | { readonly kind: 'appended'; readonly appended: number; readonly duplicates: number }
  | { readonly kind: 'left-out'; readonly reasons: readonly string[] }
  | { readonly kind: 'overtaken' }

const OUTCOMES = ['appended', 'duplicate', 'left-out'] as const

export function createAuditMetrics(registry: Registry): AuditMetrics {
  const records = new Counter({
    name: 'tokenmeter_audit_records_total',
    help: 'Records of the audit topic: appended to a trail, there already, or left out and kept as a dead letter.',
    labelNames: ['outcome'],
    registers: [registry]
  })
  for (const outcome of OUTCOMES) records.inc({ outcome }, 0)
  return { records }
}

export function countAudit({ records }: AuditMetrics, report: CountedReport): void {
  if (report.kind === 'left-out') records.inc({ outcome: 'left-out' }, report.reasons.length)
  if (report.kind !== 'appended') return
  records.inc({ outcome: 'appended' }, report.appended)
  records.inc({ outcome: 'duplicate' }, report.duplicates)
}
