/**
 * Whether a body from outside is a customer's limits. Every fault is told, each with its field, so that one round of repair is
 * enough. `compileLimits` may take what passes here.
 */

import { TEXT_LENGTH_MAX } from './decode-cloud-event.ts'
import { isObject, isPrintable, shownKey } from './field-reader.ts'
import { QUARTER_HOUR_MS } from './quarter-hour.ts'
import { TOKEN_POOLS } from './token-pools.ts'
import { isTimeZone } from './windows.ts'

export const LIMITS_MAX = 100
export const ROLLING_HOURS_MAX = 24
export const COST_WEIGHT_MAX = 2 ** 31 - 1
export const COST_MODELS_MAX = 200
export const PERIOD_BOUNDARIES_MAX = 200

export interface LimitFault {
  /** A path such as `limits[2].window.hours`. */
  readonly field: string
  readonly message: string
}

type Fields = Readonly<Record<string, unknown>>
type Report = (field: string, message: string) => void

const LIMIT_ID = /^[A-Za-z0-9._-]{1,64}$/
const CUSTOMER_KEYS = ['customerId', 'timeZone', 'version', 'limits']
const LIMIT_KEYS = ['id', 'scope', 'measure', 'window', 'max', 'mode', 'whenUnknown']

/** `input`: a `CustomerLimits`; `version` may be missing, since the store gives it. No fault: an empty list. */
export function validateLimits(input: unknown): readonly LimitFault[] {
  const faults: LimitFault[] = []
  const report: Report = (field, message) => faults.push({ field, message })
  if (!isObject(input)) {
    report('', 'must be an object')
    return faults
  }
  refuseUnknown(input, '', CUSTOMER_KEYS, report)
  checkName(input.customerId, 'customerId', TEXT_LENGTH_MAX.customerId, report)
  if (typeof input.timeZone !== 'string' || !isTimeZone(input.timeZone)) report('timeZone', 'must be an IANA time zone')
  if (input.version !== undefined && !isIntegerIn(input.version, 0, Number.MAX_SAFE_INTEGER)) {
    report('version', 'must be an integer of 0 or more')
  }
  if (!Array.isArray(input.limits)) report('limits', 'must be a list')
  else checkLimits(input.limits, report)
  return faults
}

function checkLimits(limits: readonly unknown[], report: Report): void {
  if (limits.length > LIMITS_MAX) {
    report('limits', `must have at most ${LIMITS_MAX} limits, not ${limits.length}`)
    return
  }
  const ids = new Set<unknown>()
  let periods: string | null = null
  for (const [i, limit] of limits.entries()) {
    const path = `limits[${i}]`
    if (!isObject(limit)) {
      report(path, 'must be an object')
      continue
    }
    checkLimit(limit, path, report)
    if (ids.has(limit.id)) report(`${path}.id`, 'is the id of another limit too')
    ids.add(limit.id)
    if (isObject(limit.window) && limit.window.kind === 'period') {
      // One counter serves all limits of a scope and measure, so a customer has one list of billing periods.
      const boundaries = JSON.stringify(limit.window.boundaries)
      if (periods !== null && periods !== boundaries)
        report(`${path}.window.boundaries`, 'must be those of the other limits')
      periods ??= boundaries
    }
  }
}

function checkLimit(limit: Fields, path: string, report: Report): void {
  refuseUnknown(limit, `${path}.`, LIMIT_KEYS, report)
  if (typeof limit.id !== 'string' || !LIMIT_ID.test(limit.id))
    report(`${path}.id`, 'must be 1 to 64 of A-Z a-z 0-9 . _ -')
  checkScope(limit.scope, `${path}.scope`, report)
  checkMeasure(limit.measure, `${path}.measure`, report)
  checkWindow(limit.window, `${path}.window`, report)
  if (!isIntegerIn(limit.max, 0, Number.MAX_SAFE_INTEGER))
    report(`${path}.max`, 'must be an integer from 0 to 2^53 - 1')
  if (limit.mode !== 'hard' && limit.mode !== 'soft') report(`${path}.mode`, 'must be hard or soft')
  if (limit.whenUnknown !== 'deny' && limit.whenUnknown !== 'allow')
    report(`${path}.whenUnknown`, 'must be deny or allow')
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

function checkScope(scope: unknown, path: string, report: Report): void {
  if (!isObject(scope)) return report(path, 'must be an object')
  const names = SCOPE_NAMES.get(scope.kind)
  if (names === undefined) return report(`${path}.kind`, `must be one of ${[...SCOPE_NAMES.keys()].join(', ')}`)
  refuseUnknown(scope, `${path}.`, ['kind', ...names], report)
  for (const name of names) checkName(scope[name], `${path}.${name}`, TEXT_LENGTH_MAX[name], report)
}

function checkMeasure(measure: unknown, path: string, report: Report): void {
  if (!isObject(measure)) return report(path, 'must be an object')
  if (measure.kind === 'total') return refuseUnknown(measure, `${path}.`, ['kind'], report)
  if (measure.kind === 'pool') {
    refuseUnknown(measure, `${path}.`, ['kind', 'pool'], report)
    if (!isPool(measure.pool)) report(`${path}.pool`, `must be one of ${TOKEN_POOLS.join(', ')}`)
    return
  }
  if (measure.kind !== 'cost') return report(`${path}.kind`, 'must be total, pool or cost')
  refuseUnknown(measure, `${path}.`, ['kind', 'unit', 'weights'], report)
  checkName(measure.unit, `${path}.unit`, 32, report)
  checkWeights(measure.weights, `${path}.weights`, report)
}

function checkWeights(weights: unknown, path: string, report: Report): void {
  if (!isObject(weights)) return report(path, 'must be an object')
  const models = Object.keys(weights)
  if (models.length > COST_MODELS_MAX)
    return report(path, `must name at most ${COST_MODELS_MAX} models, not ${models.length}`)
  if (!Object.hasOwn(weights, '*')) report(`${path}.*`, 'is required: the weights of every model not named')
  for (const model of models) {
    const field = `${path}.${shownKey(model)}`
    checkName(model, field, TEXT_LENGTH_MAX.model, report)
    const byPool = weights[model]
    if (!isObject(byPool)) {
      report(field, 'must be an object')
      continue
    }
    refuseUnknown(byPool, `${field}.`, TOKEN_POOLS, report)
    for (const pool of TOKEN_POOLS) {
      const message = `must be an integer from 0 to ${COST_WEIGHT_MAX}`
      if (!isIntegerIn(byPool[pool], 0, COST_WEIGHT_MAX)) report(`${field}.${pool}`, message)
    }
  }
}

function checkWindow(window: unknown, path: string, report: Report): void {
  if (!isObject(window)) return report(path, 'must be an object')
  switch (window.kind) {
    case 'month':
    case 'week':
    case 'day':
    case 'hour':
      return refuseUnknown(window, `${path}.`, ['kind'], report)
    case 'rolling':
      refuseUnknown(window, `${path}.`, ['kind', 'hours'], report)
      if (isIntegerIn(window.hours, 1, ROLLING_HOURS_MAX)) return
      return report(`${path}.hours`, `must be an integer from 1 to ${ROLLING_HOURS_MAX}`)
    case 'period':
      refuseUnknown(window, `${path}.`, ['kind', 'boundaries'], report)
      return checkBoundaries(window.boundaries, `${path}.boundaries`, report)
    default:
      return report(`${path}.kind`, 'must be month, week, day, hour, rolling or period')
  }
}

function checkBoundaries(boundaries: unknown, path: string, report: Report): void {
  if (!Array.isArray(boundaries) || boundaries.length < 2 || boundaries.length > PERIOD_BOUNDARIES_MAX) {
    return report(path, `must be a list of 2 to ${PERIOD_BOUNDARIES_MAX} times`)
  }
  let previous = -1
  for (const [i, boundary] of boundaries.entries()) {
    if (!isIntegerIn(boundary, 0, Number.MAX_SAFE_INTEGER))
      return report(`${path}[${i}]`, 'must be milliseconds since the epoch')
    if (boundary % QUARTER_HOUR_MS !== 0) return report(`${path}[${i}]`, 'must be a full quarter of an hour')
    if (boundary <= previous) return report(`${path}[${i}]`, 'must lie after the one before')
    previous = boundary
  }
}

function checkName(value: unknown, field: string, lengthMax: number, ...[report]: [Report]): void {
  if (typeof value === 'string' && value.length <= lengthMax && isPrintable(value)) return
  report(field, `must be 1 to ${lengthMax} printable characters`)
}

function refuseUnknown(fields: Fields, prefix: string, known: readonly string[], ...[report]: [Report]): void {
  for (const key of Object.keys(fields)) {
    if (!known.includes(key)) report(`${prefix}${shownKey(key)}`, 'is not a known field')
  }
}

function isPool(value: unknown): boolean {
  return TOKEN_POOLS.some((pool) => pool === value)
}

function isIntegerIn(value: unknown, min: number, max: number): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= min && value <= max
}
