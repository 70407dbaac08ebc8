/**
 * Whether a body from outside is a customer's limits. Every fault is told, each with its field, so that one round of repair is
 * enough. `compileLimits` may take what passes here.
 */
import { type BodyFault, Place } from '../body-place.ts'
import { TEXT_LENGTH_MAX } from './decode-cloud-event.ts'
import { isObject, isPrintable } from './field-reader.ts'
import { QUARTER_HOUR_MS } from './quarter-hour.ts'
import { TOKEN_POOLS } from './token-pools.ts'
import { isTimeZone } from './windows.ts'

export const LIMITS_MAX = 100
export const ROLLING_HOURS_MAX = 24
export const COST_WEIGHT_MAX = 2 ** 31 - 1
export const COST_MODELS_MAX = 200
export const PERIOD_BOUNDARIES_MAX = 200
const UNIT_LENGTH_MAX = 32

/** `input`: a `CustomerLimits`; `version` may be missing, since the store gives it. No fault: an empty list. */
export function validateLimits(input: unknown): readonly BodyFault[] {
  const faults: BodyFault[] = []
  const body = new Place(input, '', faults)
  if (!body.isObjectOf(['customerId', 'timeZone', 'version', 'limits'])) return faults
  body.field('customerId').checkName(TEXT_LENGTH_MAX.customerId)
  const timeZone = body.field('timeZone')
  if (typeof timeZone.value !== 'string' || !isTimeZone(timeZone.value)) timeZone.report('must be an IANA time zone')
  const version = body.field('version')
  if (version.value !== undefined) version.checkInteger(0, Number.MAX_SAFE_INTEGER)
  const limits = body.field('limits').entries(0, LIMITS_MAX)
  for (const limit of limits) checkLimit(limit)
  checkIds(limits)
  checkPeriods(limits)
  return faults
}

function checkLimit(limit: Place): void {
  if (!limit.isObjectOf(['id', 'scope', 'measure', 'window', 'max', 'mode', 'whenUnknown'])) return
  limit.field('id').checkMatch(/^[A-Za-z0-9._-]{1,64}$/, 'must be 1 to 64 of A-Z a-z 0-9 . _ -')
  checkScope(limit.field('scope'))
  checkMeasure(limit.field('measure'))
  checkWindow(limit.field('window'))
  limit.field('max').checkInteger(0, Number.MAX_SAFE_INTEGER)
  limit.field('mode').checkOneOf(['hard', 'soft'])
  limit.field('whenUnknown').checkOneOf(['deny', 'allow'])
}

/** The names that each kind of scope has beside its kind. */
const SCOPE_NAMES: ReadonlyMap<unknown, readonly ('userId' | 'model')[]> = new Map([
  ['customer', []],
  ['user', ['userId']],
  ['each-user', []],
  ['model', ['model']],
  ['each-model', []],
  ['user-model', ['userId', 'model']]
])

function checkScope(scope: Place): void {
  const names = SCOPE_NAMES.get(scope.field('kind').value)
  if (!scope.isObjectOf(['kind', ...(names ?? ['userId', 'model'])])) return
  scope.field('kind').checkOneOf([...SCOPE_NAMES.keys()])
  for (const name of names ?? []) scope.field(name).checkName(TEXT_LENGTH_MAX[name])
}

const MEASURE_FIELDS: ReadonlyMap<unknown, readonly string[]> = new Map([
  ['total', []],
  ['pool', ['pool']],
  ['cost', ['unit', 'weights']]
])

function checkMeasure(measure: Place): void {
  const kind = measure.field('kind')
  const fields = MEASURE_FIELDS.get(kind.value) ?? ['pool', 'unit', 'weights']
  if (!measure.isObjectOf(['kind', ...fields])) return
  kind.checkOneOf([...MEASURE_FIELDS.keys()])
  if (kind.value === 'pool') measure.field('pool').checkOneOf(TOKEN_POOLS)
  if (kind.value !== 'cost') return
  measure.field('unit').checkName(UNIT_LENGTH_MAX)
  checkWeights(measure.field('weights'))
}

function checkWeights(weights: Place): void {
  const models = isObject(weights.value) ? Object.keys(weights.value) : []
  if (!weights.isObjectOf(models)) return
  if (models.length > COST_MODELS_MAX)
    weights.report(`must name at most ${COST_MODELS_MAX} models, not ${models.length}`)
  if (!models.includes('*')) weights.field('*').report('is required: the weights of every model not named')
  for (const model of models.slice(0, COST_MODELS_MAX)) {
    const byPool = weights.field(model)
    if (model.length > TEXT_LENGTH_MAX.model || !isPrintable(model)) byPool.report('must have the name of a model')
    if (!byPool.isObjectOf(TOKEN_POOLS)) continue
    for (const pool of TOKEN_POOLS) byPool.field(pool).checkInteger(0, COST_WEIGHT_MAX)
  }
}

const WINDOW_FIELDS: ReadonlyMap<unknown, readonly string[]> = new Map([
  ['month', []],
  ['week', []],
  ['day', []],
  ['hour', []],
  ['rolling', ['hours']],
  ['period', ['boundaries']]
])

function checkWindow(window: Place): void {
  const kind = window.field('kind')
  if (!window.isObjectOf(['kind', ...(WINDOW_FIELDS.get(kind.value) ?? ['hours', 'boundaries'])])) return
  kind.checkOneOf([...WINDOW_FIELDS.keys()])
  if (kind.value === 'rolling') window.field('hours').checkInteger(1, ROLLING_HOURS_MAX)
  if (kind.value === 'period') checkBoundaries(window.field('boundaries').entries(2, PERIOD_BOUNDARIES_MAX))
}

function checkBoundaries(boundaries: readonly Place[]): void {
  let previous = -1
  for (const boundary of boundaries) {
    const { value } = boundary
    if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < 0 || value % QUARTER_HOUR_MS !== 0) {
      boundary.report('must be a full quarter of an hour, in milliseconds since the epoch')
    } else {
      if (value <= previous) boundary.report('must lie after the one before')
      previous = value
    }
  }
}

function checkIds(limits: readonly Place[]): void {
  const ids = new Set<unknown>()
  for (const limit of limits) {
    const id = limit.field('id')
    if (id.value !== undefined && ids.has(id.value)) id.report('is the id of another limit too')
    ids.add(id.value)
  }
}

/** One counter serves all limits of a scope and measure, so a customer has one list of billing periods. */
function checkPeriods(limits: readonly Place[]): void {
  let first: string | null = null
  for (const limit of limits) {
    const window = limit.field('window')
    if (window.field('kind').value !== 'period') continue
    const boundaries = window.field('boundaries')
    const text = JSON.stringify(boundaries.value ?? null)
    if (first !== null && first !== text) boundaries.report('must be those of the other limits')
    first ??= text
  }
}
