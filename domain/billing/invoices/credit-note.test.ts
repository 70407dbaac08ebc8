import fc from 'fast-check'
import t from 'tap'
import { sumOf } from '../exact-amounts.ts'
import { invoiceTotals } from '../invoice-totals.ts'
import { type Credited, type CreditNoteAsk, creditInvoice, keptMinor } from './credit-note.ts'
import { type Invoice, type InvoiceHead, openMinor } from './invoice.ts'
import type { InvoiceStanding } from './invoice-life-cycle.ts'
import { draftOf, finalizeInvoice } from './issue-invoice.ts'

const NOW = Date.parse('2026-04-02T08:15:00Z')
const UNTOUCHED: InvoiceStanding = {
  creditNotesMinor: 0n,
  creditNotesTaxMinor: 0n,
  refundsMinor: 0n,
  refundingMinor: 0n,
  isPaymentPending: false
}

function invoiceOf(amountMinor: bigint, percent = '18', isInclusive = false): Invoice {
  const lines = [
    { kind: 'base-fee', reason: 'advance', planId: 'p', lineClass: 'base-fee', from: 0, to: 1, amountMinor }
  ] as const
  const rate = { percent, isInclusive }
  const taxRates = { 'base-fee': rate, usage: rate, minimum: rate }
  const billTo = {
    kind: 'sme',
    legalName: 'Clinique du Lac',
    country: 'SN',
    locale: 'fr',
    timeZone: 'Africa/Dakar',
    taxId: null,
    registrationNumber: null,
    contractReference: null,
    purchaseOrderNumber: null
  } as const
  const content = {
    ...invoiceTotals({ lines, currency: 'XOF', taxRates, grants: [], at: 0 }),
    ...{ customerId: 'c', subscriptionId: 's', boundary: 0, period: null, currency: 'XOF', billTo, lines },
    paymentTermsDays: 30
  }
  const draft = draftOf({ id: 'i', content, now: NOW })
  return finalizeInvoice(draft, {
    number: 'INV-000001',
    issuer: { name: 'A', address: [], taxId: null, paymentInstructions: null },
    creditMinor: 0n,
    now: NOW
  })
}

function askOf(ask: Partial<CreditNoteAsk>): CreditNoteAsk {
  return { id: 'n', number: 'CN-000001', amountMinor: null, settlement: 'invoice', reason: 'why', now: NOW, ...ask }
}

function credited(invoice: InvoiceHead, standing: InvoiceStanding, ask: Partial<CreditNoteAsk>): Credited {
  const outcome = creditInvoice(invoice, standing, askOf(ask))
  if ('refused' in outcome) throw new Error(outcome.refused)
  return outcome
}

function after(standing: InvoiceStanding, { note }: Credited): InvoiceStanding {
  return {
    ...standing,
    creditNotesMinor: standing.creditNotesMinor + note.amountMinor,
    creditNotesTaxMinor: standing.creditNotesTaxMinor + note.taxMinor
  }
}

t.test('notes that take back all of an invoice take back its tax to the last unit, however they are cut', async () => {
  const cuts = fc.array(fc.bigInt({ min: 1n, max: 400n }), { maxLength: 12 })
  fc.assert(
    fc.property(fc.bigInt({ min: 1n, max: 2_000n }), fc.boolean(), cuts, (amountMinor, isInclusive, parts) => {
      let invoice: InvoiceHead = invoiceOf(amountMinor, '19.25', isInclusive)
      const { totalMinor, taxMinor, includedTaxMinor } = invoice
      let standing = UNTOUCHED
      const notes: Credited[] = []
      for (const part of [...parts, null]) {
        const left = totalMinor - standing.creditNotesMinor
        if (left === 0n || (part !== null && part > left)) continue
        const one = credited(invoice, standing, { amountMinor: part })
        notes.push(one)
        standing = after(standing, one)
        invoice = one.invoice
      }
      const tax = sumOf(notes.map(({ note }) => note.taxMinor))
      const isExact = tax === taxMinor + includedTaxMinor && notes.every(({ note }) => note.taxMinor >= 0n)
      return (
        isExact && standing.creditNotesMinor === totalMinor && invoice.status === 'paid' && openMinor(invoice) === 0n
      )
    })
  )
})

t.test('a note goes off what is open first, and what is more is kept for the customer', async (t) => {
  const partlyPaid = { ...invoiceOf(1_000n, '0'), paidMinor: 700n }
  const { note, invoice } = credited(partlyPaid, UNTOUCHED, { amountMinor: 500n })
  t.match(note, { appliedMinor: 300n, amountMinor: 500n })
  t.equal(keptMinor(note), 200n)
  t.match(invoice, { status: 'paid', creditedMinor: 300n, closedAt: NOW, version: 2 })
  const kept = credited(partlyPaid, UNTOUCHED, { amountMinor: 500n, settlement: 'credit' })
  t.match([kept.note.appliedMinor, keptMinor(kept.note), kept.invoice.status], [0n, 500n, 'finalized'])
})

t.test('nobody is credited more than is left, nor paid back more than was paid', async (t) => {
  const refusedOf = (invoice: InvoiceHead, standing: Partial<InvoiceStanding>, ask: Partial<CreditNoteAsk>) => {
    const outcome = creditInvoice(invoice, { ...UNTOUCHED, ...standing }, askOf(ask))
    return 'refused' in outcome ? outcome.refused : null
  }
  const invoice = { ...invoiceOf(1_000n, '0'), paidMinor: 400n }
  t.equal(refusedOf(invoice, {}, { amountMinor: 1_001n }), 'more-than-left')
  t.equal(refusedOf(invoice, { creditNotesMinor: 900n }, { amountMinor: 101n }), 'more-than-left')
  t.equal(refusedOf(invoice, { creditNotesMinor: 1_000n }, {}), 'more-than-left')
  t.equal(refusedOf(invoice, {}, { amountMinor: 401n, settlement: 'refund' }), 'more-than-paid')
  t.equal(refusedOf(invoice, { refundsMinor: 300n }, { amountMinor: 101n, settlement: 'refund' }), 'more-than-paid')
  t.equal(refusedOf(invoice, { refundsMinor: 300n }, { amountMinor: 100n, settlement: 'refund' }), null)
  t.equal(refusedOf(invoice, { refundingMinor: 300n }, { amountMinor: 701n }), 'more-than-left')
  t.equal(refusedOf(invoice, { refundingMinor: 300n }, { amountMinor: 101n, settlement: 'refund' }), 'more-than-paid')
  for (const status of ['draft', 'void'] as const) t.equal(refusedOf({ ...invoice, status }, {}, {}), 'not-creditable')
  t.equal(refusedOf(invoiceOf(-10n), {}, {}), 'not-creditable')
})
