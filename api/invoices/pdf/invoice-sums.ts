/** From the subtotal to what is to be paid, down the right side of the page. */

import type { TaxTotal } from '../../../domain/billing/invoice-totals.ts'
import { type Invoice, openMinor } from '../../../domain/billing/invoices/invoice.ts'
import type { PrintedValues } from './printed-values.ts'
import { BODY, BOLD, DETAIL, lineHeight, RIGHT, RULE, type Sheet, type TextStyle } from './sheet.ts'
import type { Words } from './words-en.ts'

interface Sum {
  readonly label: string
  readonly amountMinor: bigint
  readonly style: TextStyle
  readonly mark?: 'rule' | 'shade'
}

const AMOUNT_WIDTH = 120
const LABEL_WIDTH = 190
const PADDING = 3
const LARGE: TextStyle = { ...BOLD, size: 11 }

export function drawSums(sheet: Sheet, invoice: Invoice, { words, values }: Pick<Told, 'words' | 'values'>): void {
  const sums = sumsOf(invoice, { words, values })
  const rows = sums.map((sum) => ({ ...sum, lines: sheet.wrap(sum.label, LABEL_WIDTH - 12, sum.style) }))
  const heightOf = (row: (typeof rows)[number]) => row.lines.length * lineHeight(row.style) + 2 * PADDING
  sheet.keepTogether(rows.reduce((height, row) => height + heightOf(row), 10))
  sheet.y += 10
  const x = RIGHT - AMOUNT_WIDTH - LABEL_WIDTH
  for (const row of rows) {
    const band = { x, width: RIGHT - x }
    if (row.mark === 'rule') sheet.rule(RULE, band)
    if (row.mark === 'shade') sheet.shade(heightOf(row), band)
    sheet.y += PADDING
    const amount = { x: RIGHT - AMOUNT_WIDTH, width: AMOUNT_WIDTH - 4, align: 'right' } as const
    sheet.write(values.money(row.amountMinor), amount, row.style)
    for (const line of row.lines) {
      sheet.write(line, { x: x + 6, width: LABEL_WIDTH - 6 }, row.style)
      sheet.y += lineHeight(row.style)
    }
    sheet.y += PADDING
  }
}

interface Told {
  readonly words: Words
  readonly values: PrintedValues
}

/** Each amount is added to or taken off the one above, but for tax that the prices include: it is told below the total. */
function sumsOf(invoice: Invoice, told: Told): readonly Sum[] {
  const { words } = told
  const taxSum = (tax: TaxTotal, style: TextStyle) => ({ label: taxLabel(tax, told), amountMinor: tax.taxMinor, style })
  const onTop = invoice.taxes.filter(({ rate }) => rate === null || !rate.isInclusive)
  const included = invoice.taxes.filter(({ rate }) => rate?.isInclusive === true)
  return [
    { label: words.subtotal, amountMinor: invoice.subtotalMinor, style: BODY },
    ...unlessZero(words.grants, -invoice.grantsMinor),
    ...onTop.map((tax) => taxSum(tax, BODY)),
    { label: words.total, amountMinor: invoice.totalMinor, style: BOLD, mark: 'rule' },
    ...included.map((tax) => taxSum(tax, DETAIL)),
    ...(invoice.status === 'void' ? [] : dueSums(invoice, words))
  ]
}

function dueSums(invoice: Invoice, words: Words): readonly Sum[] {
  const { creditAppliedMinor, paidMinor, creditedMinor, dueMinor } = invoice
  const stillOpen: Sum = { label: words.stillOpen, amountMinor: openMinor(invoice), style: BOLD, mark: 'rule' }
  return [
    ...unlessZero(words.creditApplied, -creditAppliedMinor),
    { label: words.due, amountMinor: dueMinor, style: LARGE, mark: 'shade' },
    ...unlessZero(words.credited, -creditedMinor),
    ...unlessZero(words.alreadyPaid, -paidMinor),
    ...(stillOpen.amountMinor === dueMinor ? [] : [stillOpen])
  ]
}

function unlessZero(label: string, amountMinor: bigint): readonly Sum[] {
  return amountMinor === 0n ? [] : [{ label, amountMinor, style: BODY }]
}

function taxLabel({ rate, netMinor }: TaxTotal, { words, values }: Told): string {
  const net = values.money(netMinor)
  if (rate === null) return words.notTaxed(net)
  const label = rate.isInclusive ? words.taxIncluded : words.taxOnTop
  return label(values.percent(rate.percent), net)
}
