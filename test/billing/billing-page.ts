// docs/billing.md as tests read it: its tables are reckoned again, so that no figure of the page is wrong.

import { readFileSync } from 'node:fs'
import { minorDigits } from '../../domain/billing/currency.ts'

const page = readFileSync(new URL('../../docs/billing.md', import.meta.url), 'utf8')

/** The rows of the last table of a section, without its head. */
export function tableOf(heading: string): string[][] {
  const section = page.split(/^## /m).find((text) => text.startsWith(`${heading}\n`)) ?? ''
  const rows =
    section
      .match(/(?:^\|.*\n)+/gm)
      ?.at(-1)
      ?.trimEnd()
      .split('\n')
      .slice(2) ?? []
  return rows.map((row) =>
    row
      .slice(1, -1)
      .split('|')
      .map((cell) => cell.trim())
  )
}

export function money(amountMinor: bigint, currency: string): string {
  const digits = minorDigits(currency)
  const text = String(amountMinor < 0n ? -amountMinor : amountMinor).padStart(digits + 1, '0')
  const whole = count(BigInt(text.slice(0, text.length - digits)))
  return `${amountMinor < 0n ? '-' : ''}${whole}${digits === 0 ? '' : `.${text.slice(-digits)}`}`
}

export function count(tokens: bigint | number): string {
  return tokens.toLocaleString('en')
}
