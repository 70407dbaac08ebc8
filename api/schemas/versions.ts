/**
 * Versions of entities as HTTP has them (RFC 9110): the ETag is the version in quotes, and If-Match lets a change through only
 * over the version that its caller read.
 */
import Type from 'typebox'
import { ProblemError } from '../problem.ts'

/** Of what has versions. */
interface Versioned {
  readonly version: number
}

/** Header of an answer that tells an entity. */
export const ETAG = { ETag: { type: 'string', description: 'The version in quotes, for If-Match.' } }

export const IfMatch = Type.Object({
  'if-match': Type.Optional(
    Type.String({ description: 'The ETag that was read, or `*` for any version.', examples: ['"3"'] })
  )
})

export function etagOf({ version }: Versioned): { readonly etag: string } {
  return { etag: `"${version}"` }
}

/** Of a PATCH: nobody overwrites what they did not read. */
export function requireMatch(ifMatch: string | undefined, stored: Versioned): void {
  if (ifMatch === undefined) {
    throw new ProblemError('precondition-required', 'Send If-Match with the ETag that was read.')
  }
  checkMatch(ifMatch, stored)
}

/** Of a transition: without If-Match it is one from whatever version there is. */
export function checkMatch(ifMatch: string | undefined, stored: Versioned): void {
  if (ifMatch === undefined || ifMatch.trim() === '*' || ifMatch.trim() === etagOf(stored).etag) return
  throw otherVersion()
}

/** The stored version was the expected one as it was read, and another one as it was to be changed. */
export function lostRace(ifMatch: string | undefined): ProblemError {
  if (ifMatch !== undefined) return otherVersion()
  return new ProblemError('conflicting-change', 'It was changed at the same time: try again.')
}

function otherVersion(): ProblemError {
  return new ProblemError('version-mismatch', 'Another version is stored: read it again.')
}
