/** Errors that a caller may act on. Business outcomes (duplicate, over a limit, rejected) are values, never errors. */

/** A store or broker is away or slow: the same call may succeed later and does nothing twice. */
export class RetryableError extends Error {
  readonly code: string
  readonly retryable = true

  constructor(code: string, message: string, options?: ErrorOptions) {
    super(message, options)
    this.name = 'RetryableError'
    this.code = code
  }
}

/** The log is not the one whose cursors are kept: an operator has to look; nothing is consumed. */
export class ForeignLogError extends Error {
  readonly code = 'foreign-log'
  readonly retryable = false

  constructor(message: string) {
    super(message)
    this.name = 'ForeignLogError'
  }
}
