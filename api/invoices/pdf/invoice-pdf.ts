/**
 * An invoice as a PDF in the customer's language. It states what the invoice has and reckons nothing; what it can't print is in
 * README.md.
 */
import { type Invoice, type Issuer, openMinor } from '../../../domain/billing/invoices/invoice.ts'
import type { Customer } from '../../../domain/customers/customer.ts'
import { describeLine, type InvoicedPlans, lineColumns } from './describe-line.ts'
import { drawSums } from './invoice-sums.ts'
import { type PrintedValues, printedValues } from './printed-values.ts'
import { BODY, BOLD, DETAIL, GREY, INK, LEFT, lineHeight, RIGHT, Sheet, type TextStyle, WIDTH } from './sheet.ts'
import { drawTable } from './table.ts'
import { ENGLISH, type Words } from './words-en.ts'
import { FRENCH } from './words-fr.ts'

export interface InvoicePrint {
  readonly invoice: Invoice
  readonly issuer: Issuer
  readonly plans: InvoicedPlans
}

const WORDS: Readonly<Record<Customer['locale'], Words>> = { en: ENGLISH, fr: FRENCH }

const TITLE: TextStyle = { weight: 'bold', size: 20, color: INK }
const NAME: TextStyle = { weight: 'bold', size: 11, color: INK }
const STAMP_COLORS = { draft: GREY, paid: '#1b7f4b', void: '#b42318' } as const
const LEFT_COLUMN = { x: LEFT, width: 270 }
const FACT_LABEL_WIDTH = 108
const FACTS = { x: RIGHT - 215, width: 215 }

interface Telling {
  readonly words: Words
  readonly values: PrintedValues
}

/** The file's bytes, the same for the same invoice. Throws for a plan that is not in `plans`. */
export async function renderInvoice({ invoice, issuer, plans }: InvoicePrint): Promise<Buffer> {
  const { billTo, currency, number, createdAt, finalizedAt } = invoice
  const words = WORDS[billTo.locale]
  const values = printedValues(billTo, currency)
  const telling = { words, values, timeZone: billTo.timeZone, plans }
  const title = number === null ? words.invoice : `${words.invoice} ${number}`
  const sheet = new Sheet({
    title,
    author: issuer.name,
    language: billTo.locale,
    writtenAt: finalizedAt ?? createdAt
  })
  drawHead(sheet, { invoice, issuer }, telling)
  const blocks = invoice.lines.map((line) => describeLine(line, telling))
  await drawTable(sheet, lineColumns(words, currency), blocks)
  drawSums(sheet, invoice, telling)
  drawPayment(sheet, { invoice, issuer }, telling)
  return sheet.finish([title, stampOf(invoice, telling), issuer.name].filter((part) => part !== null).join(' · '))
}

type Parties = Pick<InvoicePrint, 'invoice' | 'issuer'>

/** Issuer and title, then the customer and the facts: two columns, each as long as it needs to be. */
function drawHead(sheet: Sheet, { invoice, issuer }: Parties, telling: Telling): void {
  const { words } = telling
  const top = sheet.y
  sheet.paragraph([issuer.name], LEFT_COLUMN, NAME)
  const taxId = issuer.taxId === null ? [] : [words.taxId(issuer.taxId)]
  sheet.paragraph([...issuer.address, ...taxId], LEFT_COLUMN, { ...BODY, color: GREY })
  const issuerEnd = sheet.y
  sheet.y = top
  sheet.paragraph([words.invoice], { ...FACTS, align: 'right' }, TITLE)
  const stamp = stampOf(invoice, telling)
  if (stamp !== null) {
    sheet.y += 4
    sheet.stamp(stamp, STAMP_COLORS[stampedStatus(invoice) ?? 'draft'])
  }
  sheet.y = Math.max(sheet.y, issuerEnd) + 14
  sheet.rule()
  sheet.y += 14
  const middle = sheet.y
  drawCustomer(sheet, invoice, telling)
  const customerEnd = sheet.y
  sheet.y = middle
  for (const [label, value] of factsOf(invoice, telling)) drawFact(sheet, label, value)
  sheet.y = Math.max(sheet.y, customerEnd) + 18
}

function drawCustomer(sheet: Sheet, { billTo }: Invoice, { words, values }: Telling): void {
  const { legalName, country, taxId, registrationNumber, contractReference, purchaseOrderNumber } = billTo
  sheet.paragraph([words.billTo], LEFT_COLUMN, DETAIL)
  sheet.y += 2
  sheet.paragraph([legalName], LEFT_COLUMN, NAME)
  const lines = [
    values.country(country),
    ...(taxId === null ? [] : [words.taxId(taxId)]),
    ...(registrationNumber === null ? [] : [words.registrationNumber(registrationNumber)]),
    ...(contractReference === null ? [] : [words.contractReference(contractReference)]),
    ...(purchaseOrderNumber === null ? [] : [words.purchaseOrderNumber(purchaseOrderNumber)])
  ]
  sheet.paragraph(lines, LEFT_COLUMN, BODY)
}

function factsOf(invoice: Invoice, { words, values }: Telling): readonly (readonly [label: string, value: string])[] {
  const { number, finalizedAt, dueAt, paymentTermsDays, period } = invoice
  return [
    ...(number === null ? [] : [[words.number, number] as const]),
    ...(finalizedAt === null ? [] : [[words.issuedOn, values.date(finalizedAt)] as const]),
    ...(dueAt === null ? [] : [[words.dueOn, values.date(dueAt)] as const]),
    [words.terms, words.payableWithin(paymentTermsDays)],
    ...(period === null ? [] : [[words.usagePeriod, values.stretch(period.start, period.end)] as const])
  ]
}

function drawFact(sheet: Sheet, label: string, value: string): void {
  sheet.write(label, { x: FACTS.x, width: FACT_LABEL_WIDTH }, { ...BODY, color: GREY })
  const place = {
    x: FACTS.x + FACT_LABEL_WIDTH + 8,
    width: FACTS.width - FACT_LABEL_WIDTH - 8,
    align: 'right'
  } as const
  sheet.paragraph([value], place, BOLD)
  sheet.y += 2
}

type StampedStatus = keyof typeof STAMP_COLORS

function stampedStatus({ status }: Invoice): StampedStatus | null {
  return status === 'draft' || status === 'paid' || status === 'void' ? status : null
}

function stampOf(invoice: Invoice, { words, values }: Telling): string | null {
  const status = stampedStatus(invoice)
  if (status === 'paid') return words.paid(invoice.closedAt === null ? null : values.date(invoice.closedAt))
  return status === null ? null : words[status]
}

/** What is left to do: nothing on a draft or a void one; how to pay what is open; or that the customer is owed something. */
function drawPayment(sheet: Sheet, { invoice, issuer }: Parties, { words, values }: Telling): void {
  const place = { x: LEFT, width: WIDTH }
  const { status, totalMinor, number } = invoice
  sheet.y += 16
  if (status === 'draft') sheet.paragraph([words.draftNote], place, BODY)
  else if (status === 'void') sheet.paragraph([words.voidNote], place, BODY)
  else if (totalMinor < 0n) sheet.paragraph([words.inYourFavour(values.money(-totalMinor))], place, BODY)
  else if (openMinor(invoice) > 0n && issuer.paymentInstructions !== null) {
    const reference = number === null ? [] : [words.paymentReference(number)]
    const lines = [...issuer.paymentInstructions.split(/\r?\n/), ...reference]
    sheet.keepTogether(lineHeight(NAME) + lines.length * lineHeight(BODY))
    sheet.paragraph([words.payment], place, NAME)
    sheet.y += 2
    sheet.paragraph(lines, place, BODY)
  }
}
