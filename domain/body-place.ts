/**
 * Checks a body from outside, place by place. Unlike `FieldReader` of usage events, which keeps the first fault, it keeps them
 * all: whoever sets limits or a plan mends them in one round.
 */
import { isObject, isPrintable, shownKey } from './tokens/field-reader.ts'

export interface BodyFault {
  /** A path such as `limits[2].window.hours`; empty for the body itself. */
  readonly field: string
  readonly message: string
}

/** A value of the body, where it stands, and where its faults go. */
export class Place {
  readonly value: unknown
  readonly #path: string
  readonly #faults: BodyFault[]

  constructor(value: unknown, path: string, faults: BodyFault[]) {
    this.value = value
    this.#path = path
    this.#faults = faults
  }

  /** What stands under a key; undefined under any key of a value that is no object. */
  field(key: string): Place {
    const value = isObject(this.value) && Object.hasOwn(this.value, key) ? this.value[key] : undefined
    const name = shownKey(key)
    return new Place(value, this.#path === '' ? name : `${this.#path}.${name}`, this.#faults)
  }

  report(message: string): void {
    this.#faults.push({ field: this.#path, message })
  }

  /** False, with a fault, unless the value is an object; keys that are not known are faults of their own. */
  isObjectOf(known: readonly string[]): boolean {
    if (!isObject(this.value)) {
      this.report('must be an object')
      return false
    }
    for (const key of Object.keys(this.value)) {
      if (!known.includes(key)) this.field(key).report('is not a known field')
    }
    return true
  }

  /** The entries of a list; none, with a fault, when it is no list of that length. */
  entries(lengthMin: number, lengthMax: number): Place[] {
    const { value } = this
    if (Array.isArray(value) && value.length >= lengthMin && value.length <= lengthMax) {
      return value.map((entry, i) => new Place(entry, `${this.#path}[${i}]`, this.#faults))
    }
    this.report(`must be a list of ${lengthMin} to ${lengthMax} entries`)
    return []
  }

  checkName(lengthMax: number): void {
    const { value } = this
    if (typeof value === 'string' && value.length <= lengthMax && isPrintable(value)) return
    this.report(`must be 1 to ${lengthMax} printable characters`)
  }

  checkMatch(pattern: RegExp, message: string): void {
    if (typeof this.value !== 'string' || !pattern.test(this.value)) this.report(message)
  }

  checkInteger(min: number, max: number): void {
    const { value } = this
    if (typeof value === 'number' && Number.isSafeInteger(value) && value >= min && value <= max) return
    this.report(`must be an integer from ${min} to ${max}`)
  }

  checkOneOf(values: readonly unknown[]): void {
    if (!values.includes(this.value)) this.report(`must be one of ${values.join(', ')}`)
  }
}
