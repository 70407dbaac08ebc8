/**
 * Whether a body from outside is a plan. Every fault is told with its field. Whatever passes here can be rated: amounts are exact
 * decimals, tiers leave no quantity without an amount, and no two prices claim the same usage.
 */
import { type BodyFault, Place } from '../body-place.ts'
import { CUSTOMER_KINDS } from '../customers/customer.ts'
import { parseRfc3339 } from '../rfc3339-time.ts'
import { TEXT_LENGTH_MAX } from '../tokens/decode-cloud-event.ts'
import { isObject } from '../tokens/field-reader.ts'
import { QUARTER_HOUR_MS } from '../tokens/quarter-hour.ts'
import { TOKEN_POOLS } from '../tokens/token-pools.ts'
import { validateLimits } from '../tokens/validate-limits.ts'
import { CHARGE_MODELS } from './plan.ts'

export const PRICES_MAX = 500
export const TIERS_MAX = 20
export const TRIAL_DAYS_MAX = 365
export const TITLE_LENGTH_MAX = 200

const CURRENCIES: ReadonlySet<unknown> = new Set(Intl.supportedValuesOf('currency'))

/** At most 18 digits, so that it fits Postgres' bigint, sums of some of them included. */
const MINOR = /^(0|[1-9]\d{0,17})$/
const MINOR_MESSAGE = "must be a string of the currency's minor unit: an integer from 0, at most 18 digits"
const AMOUNT = /^(0|[1-9]\d{0,11})(\.\d{1,12})?$/
const AMOUNT_MESSAGE = 'must be a decimal string from 0, at most 12 digits before the point and 12 after it'

/** `input`: `code` and a `PlanContentJson`. No fault: an empty list. */
export function validatePlan(input: unknown): readonly BodyFault[] {
  const faults: BodyFault[] = []
  const plan = new Place(input, '', faults)
  const known = ['code', 'title', 'currency', 'interval', 'baseFeeMinor', 'trialDays', 'onlyFor', 'prices', 'limits']
  if (!plan.isObjectOf(known)) return faults
  plan.field('code').checkMatch(/^[a-z0-9-]{1,64}$/, 'must be 1 to 64 of a-z 0-9 -')
  plan.field('title').checkName(TITLE_LENGTH_MAX)
  const currency = plan.field('currency')
  if (!CURRENCIES.has(currency.value)) currency.report('must be an ISO 4217 code')
  plan.field('interval').checkOneOf(['month', 'year'])
  plan.field('baseFeeMinor').checkMatch(MINOR, MINOR_MESSAGE)
  const trialDays = plan.field('trialDays')
  if (trialDays.value !== undefined) trialDays.checkInteger(0, TRIAL_DAYS_MAX)
  const onlyFor = plan.field('onlyFor')
  if (isStated(onlyFor)) onlyFor.checkOneOf(CUSTOMER_KINDS)
  const priceList = plan.field('prices')
  const prices = priceList.value === undefined ? [] : priceList.entries(0, PRICES_MAX)
  for (const price of prices) checkPrice(price)
  checkClaims(prices)
  if (plan.field('limits').value !== undefined) checkLimits(plan.field('limits'), faults)
  return faults
}

function isStated({ value }: Place): boolean {
  return value !== undefined && value !== null
}

const PRICE_FIELDS = [
  'pool',
  'model',
  'chargeModel',
  'perTokens',
  'tiers',
  'includedTokens',
  'minimumMinor',
  'effectiveFrom'
]

function checkPrice(price: Place): void {
  if (!price.isObjectOf(PRICE_FIELDS)) return
  price.field('pool').checkOneOf(TOKEN_POOLS)
  checkModel(price.field('model'))
  const chargeModel = price.field('chargeModel')
  chargeModel.checkOneOf(CHARGE_MODELS)
  price.field('perTokens').checkOneOf([1_000, 1_000_000])
  const isFlat = chargeModel.value === 'per_unit' || chargeModel.value === 'package'
  checkTiers(price.field('tiers').entries(1, isFlat ? 1 : TIERS_MAX))
  const includedTokens = price.field('includedTokens')
  if (includedTokens.value !== undefined) includedTokens.checkInteger(0, Number.MAX_SAFE_INTEGER)
  const minimum = price.field('minimumMinor')
  if (minimum.value !== undefined) minimum.checkMatch(MINOR, MINOR_MESSAGE)
  const effectiveFrom = price.field('effectiveFrom')
  if (isStated(effectiveFrom) && instantOf(effectiveFrom) === null)
    effectiveFrom.report('must be null or a full quarter of an hour, RFC 3339')
}

function checkModel(model: Place): void {
  model.checkName(TEXT_LENGTH_MAX.model)
  if (typeof model.value !== 'string') return
  const star = model.value.indexOf('*')
  if (star !== -1 && star !== model.value.length - 1) model.report('may have * at its end only')
}

/** The last tier has no end, so that no quantity is without an amount; each other one ends after the one before. */
function checkTiers(tiers: readonly Place[]): void {
  let previous = 0
  for (const [index, tier] of tiers.entries()) {
    if (!tier.isObjectOf(['upTo', 'amount'])) continue
    tier.field('amount').checkMatch(AMOUNT, AMOUNT_MESSAGE)
    const upTo = tier.field('upTo')
    const { value } = upTo
    if (index === tiers.length - 1) {
      if (isStated(upTo)) upTo.report('must be null: the last tier has no end')
    } else if (typeof value === 'number' && Number.isSafeInteger(value) && value > previous) previous = value
    else upTo.report(`must be an integer above ${previous}`)
  }
}

/** The ledger keeps sums by the quarter-hour: usage within one can not be told apart, nor priced apart. */
function instantOf({ value }: Place): number | null {
  const instant = typeof value === 'string' ? parseRfc3339(value) : null
  return instant !== null && instant % QUARTER_HOUR_MS === 0 ? instant : null
}

/** What two prices could both be in force for. Of patterns of different length the longer one wins, so they don't clash. */
function checkClaims(prices: readonly Place[]): void {
  const claims = new Set<string>()
  for (const price of prices) {
    const [pool, model] = [price.field('pool').value, price.field('model').value]
    if (typeof pool !== 'string' || typeof model !== 'string') continue
    const claim = JSON.stringify([pool, model, instantOf(price.field('effectiveFrom'))])
    if (claims.has(claim)) price.report('is for the pool, model and effectiveFrom of another price too')
    claims.add(claim)
  }
}

const WINDOW_KINDS = ['month', 'week', 'day', 'hour', 'rolling', 'plan-period']
/** Boundaries that stand for those which the subscription will know. */
const SOME_PERIOD = [0, QUARTER_HOUR_MS]

/** As a customer's limits, but for the billing period, whose boundaries no plan knows. */
function checkLimits(list: Place, faults: BodyFault[]): void {
  const { value } = list
  const limits = Array.isArray(value) ? value.map((limit, i) => asCustomerLimit(limit, i, faults)) : value
  faults.push(...validateLimits({ customerId: 'any', timeZone: 'UTC', limits }))
}

function asCustomerLimit(limit: unknown, index: number, faults: BodyFault[]): unknown {
  const window = isObject(limit) ? limit.window : undefined
  if (!isObject(limit) || !isObject(window)) return limit
  if (window.kind === 'plan-period' && window.boundaries === undefined)
    return { ...limit, window: { ...window, kind: 'period', boundaries: SOME_PERIOD } }
  if (typeof window.kind === 'string' && WINDOW_KINDS.includes(window.kind) && window.kind !== 'plan-period')
    return limit
  const [field, message] =
    window.kind === 'plan-period'
      ? ['boundaries', 'is not a known field']
      : ['kind', `must be one of ${WINDOW_KINDS.join(', ')}`]
  faults.push({ field: `limits[${index}].window.${field}`, message })
  return { ...limit, window: { kind: 'month' } }
}
