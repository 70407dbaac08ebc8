/**
 * From a request to a user that names nobody. The row, the trail, the record of it, the event and the answer are one transaction;
 * record and event have nothing left that would name the person.
 */
import type { FastifyRequest } from 'fastify'
import type { AuditEraser } from '../../domain/audit/audit-store.ts'
import { eraseUser } from '../../domain/customers/change-user.ts'
import { isErasedEmail, type User } from '../../domain/customers/user.ts'
import type { UserStore } from '../../domain/customers/user-store.ts'
import { changeOf, reachOf } from '../changes/change-of.ts'
import { ProblemError } from '../problem.ts'
import { tellUser } from '../schemas/users.ts'
import { etagOf, lostRace } from '../schemas/versions.ts'

export interface ErasureDependencies {
  readonly userStore: Pick<UserStore, 'erase'>
  readonly auditEraser: AuditEraser
  readonly now: () => number
}

export type ErasureRequest = FastifyRequest & { readonly headers: { readonly 'if-match'?: string | undefined } }

/** Answers the user as it stands now; of one that was erased before, as it stood. */
export async function eraseWhole(
  request: ErasureRequest,
  before: User,
  { userStore, auditEraser, now }: ErasureDependencies
): Promise<User> {
  const { customerId, id } = before
  if (isErasedEmail(before.email)) {
    // Other services may have sent records about the person since. The trail says already that the user was erased.
    const change = { reach: reachOf(request), audit: [], events: [], request: null }
    await auditEraser.erasePersonal(customerId, id, change)
    return before
  }
  const erased = eraseUser(before, now())
  if ('refused' in erased) throw new ProblemError('illegal-transition', erased.refused)
  const { next } = erased
  const after = tellUser(next)
  const change = changeOf(request, {
    customerId,
    action: 'user.erased',
    entity: { kind: 'user', id },
    before: withoutPerson(before),
    after,
    at: next.updatedAt,
    events: ['user.updated'],
    answer: { status: 200, headers: etagOf(next), body: JSON.stringify(after) }
  })
  // Even the placeholder would stand among the personal values, and the next erasure would find something to take out.
  const audit = change.audit.map((record) => ({ ...record, after: withoutPerson(next) }))
  const outcome = await userStore.erase(next, { ...change, audit })
  if (outcome === 'other-version') throw lostRace(request.headers['if-match'])
  return next
}

function withoutPerson(user: User) {
  const { email: _, name: __, ...facts } = tellUser(user)
  return facts
}
