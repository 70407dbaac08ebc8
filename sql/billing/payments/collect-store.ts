// Collecting, one transaction a step. The lease keeps rounds apart as long as nothing goes wrong; what makes a second charge impossible
// is that one payment of an invoice can be pending, and that its id is the key of its charge.

import { randomUUIDv7 } from 'node:crypto'
import { type DatabaseTransactionConnection, sql } from 'slonik'
import { Type } from 'typebox'
import type { Actor } from '../../../domain/audit/audit-record.ts'
import { type InvoiceHead, openMinor } from '../../../domain/billing/invoices/invoice.ts'
import {
  type Attempts,
  afterFailedCharge,
  afterReminder,
  PENDING_ASKED_AGAIN_MS
} from '../../../domain/billing/payments/collection-schedule.ts'
import {
  changedAt,
  giveUp,
  isAbout,
  isSameAccount,
  settlePayment
} from '../../../domain/billing/payments/pay-invoice.ts'
import type { Payment } from '../../../domain/billing/payments/payment.ts'
import { paymentToJson } from '../../../domain/billing/payments/payment-json.ts'
import type { ChargeOutcome } from '../../../domain/billing/payments/payment-provider.ts'
import type { Collectable, CollectStore, StoredAccount } from '../../../domain/billing/payments/payment-store.ts'
import { PLATFORM } from '../../../domain/change.ts'
import { writeTold } from '../../change/write-change.ts'
import type { EntityDatabase } from '../../connect-slonik.ts'
import { instant } from '../../encoding/instant.ts'
import { rowParser } from '../../encoding/row-parser.ts'
import { keptCollectAt } from '../change-invoice.ts'
import { INVOICE_COLUMNS, INVOICE_ROW, toInvoiceHead } from '../invoice-row.ts'
import { readAccount } from './payment-account-store.ts'
import { ACCOUNT_ROW, PAYMENT_COLUMNS, PAYMENT_ROW, toAccount, toPayment } from './payment-row.ts'
import {
  findPending,
  insertPayment,
  invoiceEvent,
  invoiceRecord,
  lockInvoice,
  paymentRecord,
  type Told,
  writeInvoice,
  writePaid
} from './write-paid.ts'

type Ask<Method extends keyof CollectStore> = Parameters<CollectStore[Method]>[0]

const ACTOR: Actor = { kind: 'service', id: 'billing', address: null, requestId: null }
const NOTHING: Told = { audit: [], events: [] }

const NO_ROWS = rowParser('invoice', Type.Never())
const PAID_INVOICE = rowParser('payment', Type.Object({ invoice_id: Type.String() }))
const ATTEMPTS = rowParser('invoice', Type.Object({ charges: Type.Integer(), reminders: Type.Integer() }))
const TAKEN = rowParser(
  'invoice',
  Type.Object({ id: Type.String(), charges: Type.Integer(), reminders: Type.Integer(), due_at: Type.Number() })
)

export class PostgresCollectStore implements CollectStore {
  readonly #database: EntityDatabase

  /** As the platform's role. */
  constructor(database: EntityDatabase) {
    this.#database = database
  }

  async take({ now, leaseMs, limit }: Ask<'take'>): Promise<readonly Collectable[]> {
    return this.#database.transaction(PLATFORM, 'take invoices to collect', async (transaction) => {
      const taken = await transaction.any(sql.type(TAKEN)`
        with due as (
          select id from invoice
           where collect_at <= ${instant(now)}
             and (status = 'finalized' and due_minor > paid_minor + credited_minor
                  or exists (select from payment where payment.invoice_id = invoice.id and payment.status = 'pending'))
           order by collect_at, id
           limit ${limit}
             for update skip locked
        )
        update invoice as kept set collect_at = ${instant(now + leaseMs)}
          from due where kept.id = due.id
        returning kept.id, charges, reminders, due_at`)
      const attemptsOf = new Map(taken.map(({ id, due_at: dueAt, ...attempts }) => [id, { dueAt, ...attempts }]))
      return loadCollectables(transaction, attemptsOf)
    })
  }

  async begin({ paymentId, invoiceId, account, now }: Ask<'begin'>): Promise<Payment | null> {
    return this.#database.transaction(PLATFORM, `begin a charge of invoice ${invoiceId}`, async (transaction) => {
      const found = await lockUncharged(transaction, invoiceId)
      if (found === null) return null
      const { customerId, currency } = found
      // Since the invoice was taken, the customer may have named another, or none.
      const current = await readAccount(transaction, customerId)
      if (current === null || !isSameAccount(current, account)) return null
      const { provider, providerCustomer, providerMethod } = account
      const payment: Payment = {
        id: paymentId,
        customerId,
        invoiceId,
        provider,
        method: 'card',
        status: 'pending',
        amountMinor: openMinor(found),
        currency,
        reference: null,
        failureCode: null,
        refundedMinor: 0n,
        refundingMinor: 0n,
        refunds: 0,
        excessMinor: 0n,
        charged: { providerCustomer, providerMethod },
        receivedAt: null,
        createdAt: now,
        updatedAt: now
      }
      await insertPayment(transaction, payment)
      await writeTold(transaction, { audit: [paymentRecord(null, payment, deed('payment.begun'))], events: [] })
      return payment
    })
  }

  async settle(paymentId: string, outcome: ChargeOutcome, now: number): ReturnType<CollectStore['settle']> {
    return this.#database.transaction(PLATFORM, `settle payment ${paymentId}`, async (transaction) => {
      const invoiceId = await transaction.maybeOneFirst(sql.type(PAID_INVOICE)`
        select invoice_id from payment where id = ${paymentId}`)
      if (invoiceId === null) return 'unknown-payment'
      const invoice = await lockInvoice(transaction, invoiceId)
      if (invoice === null) throw new Error(`payment ${paymentId} is of invoice ${invoiceId}, which is not there`)
      const payment = await lockPayment(transaction, paymentId)
      if (!isAbout(payment, outcome)) return 'unknown-payment'
      if (payment.status === 'pending' && outcome.outcome === 'pending')
        await collectAgain(transaction, invoiceId, now + PENDING_ASKED_AGAIN_MS)
      const next = settlePayment(payment, outcome, now)
      if (next === null) return 'unchanged'
      await writePayment(transaction, next)
      const ofPayment = tellPayment(payment, next)
      if (next.status !== 'pending') await collectNext(transaction, { invoice, payment: next, now })
      const ofInvoice =
        next.status === 'succeeded'
          ? await writePaid(transaction, { invoice, payment: next, actor: ACTOR, now })
          : NOTHING
      await writeTold(transaction, {
        audit: [...ofPayment.audit, ...ofInvoice.audit],
        events: [...ofPayment.events, ...ofInvoice.events]
      })
      return 'settled'
    })
  }

  async remind(invoiceId: string, number: number, now: number): Promise<boolean> {
    return this.#database.transaction(PLATFORM, `remind of invoice ${invoiceId}`, async (transaction) => {
      const invoice = await lockUncharged(transaction, invoiceId)
      if (invoice === null) return false
      const attempts = await readAttempts(transaction, invoiceId)
      if (attempts.reminders !== number - 1) return false
      const next = { ...invoice, ...changedAt(invoice, now) }
      const again = afterReminder({ ...attempts, reminders: number, dueAt: invoice.dueAt ?? now }, now)
      await writeInvoice(transaction, next)
      await transaction.query(sql.type(NO_ROWS)`update invoice set reminders = ${number} where id = ${invoiceId}`)
      await collectAgain(transaction, invoiceId, again)
      await writeTold(transaction, {
        audit: [invoiceRecord(invoice, next, deed('invoice.reminded'))],
        events: [invoiceEvent('invoice.overdue', next, { reminder: number })]
      })
      return true
    })
  }

  async giveUp(invoiceId: string, now: number): Promise<boolean> {
    return this.#database.transaction(PLATFORM, `give invoice ${invoiceId} up`, async (transaction) => {
      const invoice = await lockUncharged(transaction, invoiceId)
      if (invoice === null) return false
      const next = giveUp(invoice, now)
      await writeInvoice(transaction, next)
      await writeTold(transaction, {
        audit: [invoiceRecord(invoice, next, deed('invoice.uncollectible'))],
        events: [invoiceEvent('invoice.uncollectible', next)]
      })
      return true
    })
  }
}

async function loadCollectables(
  transaction: DatabaseTransactionConnection,
  attemptsOf: ReadonlyMap<string, Attempts>
): Promise<readonly Collectable[]> {
  const ids = [...attemptsOf.keys()]
  const rows = await transaction.any(sql.type(INVOICE_ROW)`
    select ${INVOICE_COLUMNS} from invoice where id = any(${sql.array(ids, 'text')}) order by due_at, id`)
  const customers = rows.map((row) => row.customer_id)
  const accounts = await transaction.any(sql.type(ACCOUNT_ROW)`
    select customer_id, provider, provider_customer, provider_method, updated_at
      from payment_account where customer_id = any(${sql.array(customers, 'text')})`)
  const pending = await transaction.any(sql.type(PAYMENT_ROW)`
    select ${PAYMENT_COLUMNS} from payment
     where invoice_id = any(${sql.array(ids, 'text')}) and status = 'pending'`)
  const accountOf = new Map(accounts.map((row) => [row.customer_id, toAccount(row)]))
  const pendingOf = new Map(pending.map((row) => [row.invoice_id, toPayment(row)]))
  return rows.map((row) => {
    const attempts = attemptsOf.get(row.id)
    if (attempts === undefined) throw new Error(`invoice ${row.id} was not taken`)
    const account = accountOf.get(row.customer_id) ?? null
    return { invoice: toInvoiceHead(row), attempts, account, pending: pendingOf.get(row.id) ?? null }
  })
}

function deed(action: string) {
  return { action, actor: ACTOR }
}

/** The invoice, locked, if it is to be paid and no charge of it is pending. */
async function lockUncharged(transaction: DatabaseTransactionConnection, invoiceId: string) {
  const invoice = await lockInvoice(transaction, invoiceId)
  if (invoice === null || invoice.status !== 'finalized' || openMinor(invoice) === 0n) return null
  return (await findPending(transaction, invoiceId)) === null ? invoice : null
}

async function lockPayment(transaction: DatabaseTransactionConnection, id: string): Promise<Payment> {
  return toPayment(
    await transaction.one(sql.type(PAYMENT_ROW)`select ${PAYMENT_COLUMNS} from payment where id = ${id} for update`)
  )
}

async function writePayment(transaction: DatabaseTransactionConnection, next: Payment): Promise<void> {
  const received = next.receivedAt === null ? sql.fragment`null` : instant(next.receivedAt)
  await transaction.query(sql.type(NO_ROWS)`
    update payment
       set status = ${next.status}, reference = ${next.reference}, failure_code = ${next.failureCode},
           received_at = ${received}, updated_at = ${instant(next.updatedAt)}
     where id = ${next.id}`)
}

function tellPayment(before: Payment, next: Payment): Told {
  if (next.status === 'pending') return NOTHING
  const { customerId, updatedAt: at } = next
  const data = paymentToJson(next)
  const failed = { id: randomUUIDv7(), type: 'payment.failed', customerId, at, data } as const
  return {
    audit: [paymentRecord(before, next, deed(`payment.${next.status}`))],
    events: next.status === 'failed' ? [failed] : []
  }
}

async function readAttempts(
  transaction: DatabaseTransactionConnection,
  invoiceId: string
): Promise<Omit<Attempts, 'dueAt'>> {
  return transaction.one(sql.type(ATTEMPTS)`select charges, reminders from invoice where id = ${invoiceId}`)
}

interface Ended {
  readonly invoice: InvoiceHead
  readonly payment: Payment
  readonly now: number
}

/** A charge has ended: of what is still to be collected it is told when the next step is, and nothing else is looked at again. */
async function collectNext(
  transaction: DatabaseTransactionConnection,
  { invoice, payment, now }: Ended
): Promise<void> {
  const { id, customerId, status } = invoice
  if (status !== 'finalized') {
    await transaction.query(sql.type(NO_ROWS)`
      update invoice set collect_at = ${keptCollectAt(invoice)} where id = ${id}`)
    return
  }
  if (payment.status !== 'failed') return
  const dueAt = invoice.dueAt ?? now
  const current = await readAccount(transaction, customerId)
  // An account that was replaced while it was charged: its failure says nothing of the one that is there now.
  if (current === null || !isCharged(payment, current)) return collectAgain(transaction, id, Math.max(dueAt, now))
  const attempts = await transaction.one(sql.type(ATTEMPTS)`
    update invoice set charges = charges + 1 where id = ${id} returning charges, reminders`)
  await collectAgain(transaction, id, afterFailedCharge({ ...attempts, dueAt }, now))
}

function isCharged({ provider, charged }: Payment, account: StoredAccount): boolean {
  return charged !== null && isSameAccount({ provider, ...charged }, account)
}

async function collectAgain(transaction: DatabaseTransactionConnection, invoiceId: string, at: number): Promise<void> {
  await transaction.query(sql.type(NO_ROWS)`update invoice set collect_at = ${instant(at)} where id = ${invoiceId}`)
}
