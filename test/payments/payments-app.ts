// The API on invoices to collect, with the stores that payments need.

import type { Test } from 'tap'
import type { ApiDependencies } from '../../api/api-dependencies.ts'
import { startTestApp } from '../../api/ports-in-memory.ts'
import { finishRefunds } from '../../billing-job/collect/finish-refunds.ts'
import { PostgresCreditNoteStore } from '../../sql/billing/credit-note-store.ts'
import { PostgresInvoiceStore } from '../../sql/billing/invoice-store.ts'
import { PostgresPaymentAccountStore } from '../../sql/billing/payments/payment-account-store.ts'
import { PostgresRefundStore } from '../../sql/billing/payments/refund-store.ts'
import { PostgresIdempotencyStore } from '../../sql/change/idempotency-store.ts'
import { PostgresApiKeyStore } from '../../sql/customers/api-key-store.ts'
import { PostgresCustomerStore } from '../../sql/customers/customer-store.ts'
import { startCollecting } from './collecting.ts'

export async function startPayments(
  t: Pick<Test, 'teardown'>,
  options: Parameters<typeof startCollecting>[1],
  others: Partial<ApiDependencies> = {}
) {
  const collecting = await startCollecting(t, options)
  const { database, entities, collectStore, paymentStore, provider, now } = collecting
  const apiKeyStore = new PostgresApiKeyStore(entities)
  const refundStore = new PostgresRefundStore(entities)
  const stores = {
    apiKeyStore,
    collectStore,
    creditNoteStore: new PostgresCreditNoteStore(entities),
    customerStore: new PostgresCustomerStore(entities),
    idempotencyStore: new PostgresIdempotencyStore(entities),
    invoiceStore: new PostgresInvoiceStore(entities),
    paymentAccountStore: new PostgresPaymentAccountStore(entities),
    paymentStore,
    refundStore
  }
  const started = await startTestApp({}, { ...stores, paymentProvider: provider, now, ...others })
  t.teardown(() => started.app.close())
  const refundFaults: unknown[] = []
  const finishing = {
    ...{ refundStore, provider, now, creditNoteNumberPrefix: 'CN-' },
    onRefundFault: (fault: unknown) => void refundFaults.push(fault)
  }
  return {
    ...collecting,
    ...started,
    stores: { ...stores, paymentProvider: provider, now },
    apiKeyStore,
    refundStore,
    refundFaults,
    finishRefunds: () => finishRefunds(finishing, () => false),
    creditNotes: () =>
      database.query('read credit notes', {
        text: 'select number, amount_minor::text as amount, settlement, reason from credit_note order by number'
      }),
    async creditMinor() {
      const rows = await database.query<{ sum: number }>('sum', {
        text: 'select coalesce(sum(amount_minor), 0)::integer as sum from customer_credit'
      })
      return rows[0]?.sum
    }
  }
}
