import Type from 'typebox'
import type { AuditSearch } from '../../domain/audit/audit-store.ts'
import { ADMINS } from '../access/access-rule.ts'
import type { Api } from '../api-dependencies.ts'
import { reachOf } from '../changes/change-of.ts'
import { ProblemError } from '../problem.ts'
import { AUDIT_EVENT_EXAMPLE, AuditEventTold, auditFilters, tellAuditEvent } from '../schemas/audit-events.ts'
import { pageAsked, pageOf, pageQuery, tellPage } from '../schemas/pages.ts'
import * as schemas from '../schemas/shared.ts'

export function auditEventRoutes(api: Api, { auditSearch }: { readonly auditSearch: AuditSearch }): void {
  api.get(
    '/v1/audit-events',
    {
      config: { access: { scope: 'audit:read', roles: ADMINS } },
      schema: {
        operationId: 'listAuditEvents',
        tags: ['audit'],
        summary: 'Who did what, newest first',
        description:
          "What was changed here and what other services told. A customer's credential sees its own customer's trail; the platform sees every trail and its own.",
        querystring: Type.Object({ ...auditFilters, ...pageQuery }, schemas.strict),
        response: {
          200: pageOf(AuditEventTold, 'A page of audit records, newest first.', AUDIT_EVENT_EXAMPLE),
          ...schemas.problems('validation-failed', 'unknown-customer')
        }
      }
    },
    async (request) => {
      const {
        customerId = null,
        entityKind = null,
        entityId = null,
        actorId = null,
        action = null,
        ...asked
      } = request.query
      const from = instantOf('from', asked.from)
      const to = instantOf('to', asked.to)
      const filter = { customerId, entityKind, entityId, actorId, action, from, to, ...pageAsked(asked) }
      return tellPage(await auditSearch.list(reachOf(request), filter), tellAuditEvent)
    }
  )
}

/** The format lets leap seconds through, which no clock of ours has. */
function instantOf(name: string, text: string | undefined): number | null {
  if (text === undefined) return null
  const at = Date.parse(text)
  if (!Number.isNaN(at)) return at
  throw new ProblemError('validation-failed', 'See `errors`.', {
    errors: [{ field: `query.${name}`, message: 'must be an instant that there is' }]
  })
}
