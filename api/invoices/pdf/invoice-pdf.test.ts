/** The files are read back: what stands here is on the page, in that place. */
import PDFDocument from 'pdfkit'
import t from 'tap'
import { sumOf } from '../../../domain/billing/exact-amounts.ts'
import type { Invoice } from '../../../domain/billing/invoices/invoice.ts'
import { MODELS_NAMED_MAX } from './describe-line.ts'
import {
  creditInvoice,
  flatUsageLine,
  ISSUER,
  institutionInvoice,
  PLANS,
  smeInvoice,
  usageLine
} from './invoice-examples.ts'
import { renderInvoice } from './invoice-pdf.ts'
import { type PrintedText, readTexts, rowsOf } from './read-pdf.ts'
import { LEFT, RIGHT, WIDTH } from './sheet.ts'

/** Right edges of the two columns of amounts: a line's, and its parts'. */
const AMOUNT_EDGE = RIGHT - 4
const PART_EDGE = AMOUNT_EDGE - 74

const ruler = new PDFDocument()

function print(invoice: Invoice): Promise<Buffer> {
  return renderInvoice({ invoice, issuer: ISSUER, plans: PLANS })
}

async function textsOf(invoice: Invoice): Promise<readonly PrintedText[]> {
  return readTexts(await print(invoice))
}

async function linesOf(invoice: Invoice): Promise<readonly string[]> {
  return rowsOf(await textsOf(invoice)).map((row) => row.map(({ text }) => text).join(' | '))
}

function rightOf({ x, font, size, text }: PrintedText): number {
  return x + ruler.font(font).fontSize(size).widthOfString(text)
}

/** Amounts that end at an edge within the table, in minor units: all have the digits of one currency. */
function amountsAt(texts: readonly PrintedText[], edge: number): readonly bigint[] {
  const subtotal = texts.findIndex(({ text }) => /^(Subtotal|Sous-total)$/.test(text))
  return texts
    .slice(0, subtotal - 1)
    .filter((text) => Math.abs(rightOf(text) - edge) < 0.01 && /^-?\d[\d ,.]*$/.test(text.text))
    .map(({ text }) => BigInt(text.replace(/[^\d-]/g, '')))
}

function pageCount(texts: readonly PrintedText[]): number {
  return texts.at(-1)?.page ?? 0
}

t.test('an SME’s invoice in French tells who, when, what for and how much', async (t) => {
  const lines = await linesOf(smeInvoice())
  const expected = [
    'Sahel Compute SA',
    'Identifiant fiscal : 005123456 2G3',
    'Boulangerie Ndiaye & Frères SARL',
    'Identifiant fiscal : 007654321 2B2',
    'Numéro de facture | INV-2026-000042',
    'Date d’émission | 1 juillet 2026',
    'Date d’échéance | 31 juillet 2026',
    'Période de consommation | 1–30 juin 2026',
    'Consommation : tokens en sortie, mistral-large | 4 570',
    'Facturés | 2 469 600 | 1 850,5 / million | 4 570',
    'Consommation : tokens en entrée, tous les modèles | 13 000',
    'Modèles · gpt-4o 60 000 000 · gpt-4o-mini 1 000 000',
    'Lots de 1 000 000 entamés : 60 | 60 000 000 | 216,67 / lot | 13 000',
    'Complément au minimum : tokens en sortie, mistral-large | 5 430',
    'Moins la consommation facturée | -4 570',
    'Abonnement, Essentiel (essentiel, version 3) | 1 250 000',
    '1–31 juillet 2026 · 31 jours · payable d’avance',
    'Sous-total | 1 273 000 F CFA',
    'Crédits utilisés | -20 000 F CFA',
    'Total | 1 253 000 F CFA',
    'Dont taxe 18 % incluse (net 1 061 864 F CFA) | 191 136 F CFA',
    'Avoir imputé | -15 000 F CFA',
    'Montant dû | 1 238 000 F CFA',
    'Mobile money: +221 77 000 00 00',
    'Référence à rappeler : INV-2026-000042'
  ]
  t.same(
    expected.filter((line) => !lines.includes(line)),
    []
  )
})

t.test(
  'an institution’s invoice in English names its register, contract and order, and goes tier by tier',
  async (t) => {
    const lines = await linesOf(institutionInvoice(2))
    const expected = [
      'First Continental Bank Plc',
      'Registration number: BG-2011-0042',
      'Contract: MSA-2026-17',
      'Purchase order: PO 88-1203',
      'Usage: input tokens, gpt-0* | 150.00',
      'Jun 1, 2026, 00:00 – Jun 16, 2026, 08:15 · graduated price, tier by tier',
      'Used | 61,000,000',
      'Included in the plan | 1,000,000',
      'Tier up to 10,000,000 | 10,000,000 | 3.00 / million | 30.00',
      'Tier up to 50,000,000 | 40,000,000 | 2.50 / million | 100.00',
      'Last tier | 10,000,000 | 2.00 / million | 20.00',
      'Base fee, Essentiel (essentiel, version 3): credit after a change | -15.00',
      'Base fee, Croissance (croissance, version 1): charge after a change | 45.00',
      'June 16 – 30, 2026 · 15 days',
      'Not taxed: €120.00 | €0.00',
      'Tax 19.25% on €300.00 | €57.75',
      'Total | €477.75',
      'Amount due | €477.75'
    ]
    t.same(
      expected.filter((line) => !lines.some((printed) => printed.includes(line))),
      []
    )
    t.notOk(lines.some((line) => line.includes('Tax ID') && !line.includes(ISSUER.taxId ?? '')))
  }
)

t.test('what was invoiced too much is a line below zero, and the total is in the customer’s favour', async (t) => {
  const lines = await linesOf(creditInvoice())
  const expected = [
    'Facturés | 2 469 000 | 5,000 / million | 12,345',
    'Régularisation de consommation, 1–31 mai 2026 | -234,317',
    'Montant juste, avec la consommation tardive ou retirée | 1 000,250',
    'Moins ce qui a été facturé | -1 234,567',
    'mistral-large, tokens en sortie | -46 863 400',
    'mistral-large, tokens de raisonnement | +1 200',
    'Sous-total | -221,972 TND',
    'Taxe 19 % sur -221,972 TND | -42,175 TND',
    'Total | -264,147 TND',
    'Montant dû | 0,000 TND',
    '264,147 TND sont en votre faveur.'
  ]
  t.same(
    expected.filter((line) => !lines.includes(line)),
    []
  )
  t.notOk(lines.includes('Paiement'))
})

t.test('the printed amounts of lines sum to the subtotal, and those of parts to their lines', async (t) => {
  for (const invoice of [smeInvoice(), institutionInvoice(57), creditInvoice()]) {
    const texts = await textsOf(invoice)
    const amounts = amountsAt(texts, AMOUNT_EDGE)
    t.same(
      amounts,
      invoice.lines.map(({ amountMinor }) => amountMinor)
    )
    t.equal(sumOf(amounts), invoice.subtotalMinor)
    const explained = invoice.lines.filter(({ kind }) => kind !== 'base-fee')
    t.equal(sumOf(amountsAt(texts, PART_EDGE)), sumOf(explained.map(({ amountMinor }) => amountMinor)))
  }
})

t.test(
  'three hundred lines go over many pages: each has its number, the head of the table, and whole lines',
  async (t) => {
    const texts = await textsOf(institutionInvoice(297))
    const pages = pageCount(texts)
    t.ok(pages > pageCount(await textsOf(institutionInvoice(57))), `${pages} pages`)
    t.equal(amountsAt(texts, AMOUNT_EDGE).length, 300)
    for (let page = 1; page <= pages; page += 1) {
      const ofPage = texts.filter((text) => text.page === page)
      t.ok(ofPage.some(({ text }) => text === `${page} / ${pages}`))
      const [, first] = rowsOf(ofPage.slice(ofPage.findIndex(({ text }) => text === 'Description')))
      if (page < pages) t.match(first?.[0]?.text, /^Usage: /, 'a page begins with a line, not within one')
    }
  }
)

t.test('a line that no page can hold goes on over pages under the head of the table', async (t) => {
  const models = Array.from({ length: 200 }, (_, i) => ({ model: `model-${i}`, pool: 'input' as const, tokens: 7n }))
  const [usage, adjustment] = creditInvoice().lines
  t.equal(adjustment?.kind, 'adjustment')
  if (usage === undefined || adjustment?.kind !== 'adjustment') return
  const texts = await textsOf(creditInvoice({ lines: [usage, { ...adjustment, differences: models }] }))
  t.equal(texts.filter(({ text }) => /^model-\d+, /.test(text)).length, 200)
  t.equal(texts.filter(({ text }) => text === 'Désignation').length, pageCount(texts))
  t.ok(pageCount(texts) > 2)
  t.ok(
    texts.every(({ y, text }) => y > 40 || / \/ \d|^Facture INV/.test(text)),
    'nothing runs into the foot'
  )
})

t.test('long names, patterns and amounts stay within their columns, with every character', async (t) => {
  const legalName = 'Établissement Financier International '.repeat(5).trim()
  const model = `provider/${'x'.repeat(60)}-${'y'.repeat(56)}*`
  const line = usageLine({ model, amountMinor: 10n ** 18n, quantity: 10n ** 18n })
  const texts = await textsOf({
    ...smeInvoice({ subtotalMinor: 10n ** 18n, totalMinor: 10n ** 18n, dueMinor: 10n ** 18n }),
    billTo: { ...smeInvoice().billTo, legalName, taxId: '7'.repeat(128) },
    lines: [line]
  })
  t.same(
    texts.filter((text) => text.x < LEFT - 0.01 || rightOf(text) > LEFT + WIDTH + 0.01),
    []
  )
  const trillions = '1 000 000 000 000 000 000'
  const amount = texts.find((text) => text.text === trillions && Math.abs(rightOf(text) - AMOUNT_EDGE) < 0.01)
  t.ok(amount !== undefined && amount.x > PART_EDGE, 'an amount stays in its column')
  t.same(
    texts.filter(({ size, text }) => size < 8 && !text.startsWith(trillions)),
    [],
    'only numbers are set smaller'
  )
  const all = texts.map(({ text }) => (text === trillions ? '' : text)).join('')
  t.ok(all.replaceAll(' ', '').includes(legalName.replaceAll(' ', '')))
  t.ok(all.includes(model))
  t.ok(all.includes('7'.repeat(128)))
})

t.test('of many models the largest are named, and the others summed', async (t) => {
  const models = Array.from({ length: 300 }, (_, i) => ({ model: `m${i}`, tokens: BigInt(i + 1) }))
  const texts = await textsOf(smeInvoice({ lines: [usageLine({ model: '*', models })] }))
  const all = texts.map(({ text }) => text).join(' ')
  const restTokens = ((300 - MODELS_NAMED_MAX) * (301 - MODELS_NAMED_MAX)) / 2
  t.match(all, 'Modèles · m299 300 · m298 299 · ')
  t.match(all, `· 280 autres ${restTokens.toLocaleString('fr').replace(/\s/g, ' ')}`)
  t.notMatch(all, 'm100 ')
})

t.test('a draft, a void and a paid invoice are stamped, and ask for nothing', async (t) => {
  const draft = await linesOf(institutionInvoice(1, { status: 'draft', number: null, finalizedAt: null, dueAt: null }))
  t.match(draft.join('\n'), /^Draft$[\s\S]*This is a draft: nothing is to be paid/m)
  t.notMatch(draft.join('\n'), /Invoice number|Issue date|Payment$/m)
  const voided = await linesOf(smeInvoice({ status: 'void' }))
  t.match(voided.join('\n'), /^Annulée$[\s\S]*Cette facture est annulée/m)
  t.notMatch(voided.join('\n'), /Montant dû|Paiement$/m)
  const closedAt = Date.parse('2026-07-05T12:00Z')
  const paid = await linesOf(smeInvoice({ status: 'paid', paidMinor: 1_238_000n, closedAt }))
  t.match(paid.join('\n'), /^Payée le 5 juillet 2026$[\s\S]*Déjà payé \| -1 238 000 F CFA\nReste à payer \| 0 F CFA/m)
  t.notMatch(paid.join('\n'), /^Paiement$/m)
  t.notMatch((await linesOf(smeInvoice())).join('\n'), /Brouillon|Annulée|Payée/)
})

t.test('what is still to be paid is told after a credit note, with how to pay it', async (t) => {
  const lines = await linesOf(smeInvoice({ creditedMinor: 238_000n }))
  t.match(lines.join('\n'), 'Factures d’avoir | -238 000 F CFA\nReste à payer | 1 000 000 F CFA\nPaiement')
})

t.test('the same invoice gives the same bytes, dated as it was issued', async (t) => {
  const [one, other] = [await print(institutionInvoice(20)), await print(institutionInvoice(20))]
  t.ok(one.equals(other))
  t.match(one.toString('latin1'), '(D:20260701021000Z)')
  t.notOk(one.equals(await print(institutionInvoice(20, { number: 'INV-2026-000043' }))))
})

t.test('a name that no font can print is marked as such, and the rest is printed', async (t) => {
  const billTo = { ...smeInvoice().billTo, legalName: 'شركة النور (Ennour SARL)' }
  t.ok((await linesOf(smeInvoice({ billTo }))).includes('???? ????? (Ennour SARL)'))
})

t.test('a base fee whose plan was not brought is an error, not a guess', async (t) => {
  const print = renderInvoice({ invoice: smeInvoice(), issuer: ISSUER, plans: new Map() })
  await t.rejects(print, /plan-s/)
})

t.test('an invoice without lines is printed', async (t) => {
  const empty = { lines: [], taxes: [], subtotalMinor: 0n, totalMinor: 0n, dueMinor: 0n, grantsMinor: 0n }
  const lines = await linesOf(smeInvoice({ ...empty, creditAppliedMinor: 0n, period: null }))
  t.ok(lines.includes('Montant dû | 0 F CFA'))
  t.notMatch(lines.join('\n'), /Période|Paiement$/m)
})

t.test('an amount far beyond a float is printed to the last digit', async (t) => {
  const amountMinor = 9_007_199_254_740_993_001n
  const lines = [flatUsageLine('5', amountMinor, 1_000_000n)]
  const printed = await linesOf(creditInvoice({ lines, subtotalMinor: amountMinor, totalMinor: amountMinor }))
  t.ok(printed.includes('Total | 9 007 199 254 740 993,001 TND'))
})
