import { randomUUIDv7 } from 'node:crypto'
import { TypeBoxValidatorCompiler } from '@fastify/type-provider-typebox'
import type { FastifyRequest, FastifySchemaCompiler } from 'fastify'
import Type, { type TSchema } from 'typebox'
import {
  archivePlan,
  editPlan,
  PLAN_STATUSES,
  type PlanContent,
  type PlanVersion,
  publishPlan
} from '../../domain/subscriptions/plan.ts'
import {
  type PlanContentJson,
  planContentFromJson,
  planContentToJson,
  planToJson
} from '../../domain/subscriptions/plan-json.ts'
import type { PlanStore } from '../../domain/subscriptions/plan-store.ts'
import { validatePlan } from '../../domain/subscriptions/validate-plan.ts'
import { type AccessRule, EVERY_ROLE, PLATFORM_ONLY } from '../access/access-rule.ts'
import type { Api } from '../api-dependencies.ts'
import { changeOf, reachOf } from '../changes/change-of.ts'
import { FAULTS_MAX, type FieldFault, ProblemError } from '../problem.ts'
import { pageAsked, pageOf, pageQuery, tellPage } from '../schemas/pages.ts'
import { NewPlanBody, PLAN_EXAMPLE, PlanPatch, PlanTold } from '../schemas/plans.ts'
import * as schemas from '../schemas/shared.ts'
import { checkMatch, ETAG, etagOf, IfMatch, lostRace, requireMatch } from '../schemas/versions.ts'

interface PlanDependencies {
  readonly planStore: PlanStore
  readonly now: () => number
}

const READ: AccessRule = { scope: 'plans:read', roles: EVERY_ROLE }
const WRITE: AccessRule = { scope: 'plans:write', roles: PLATFORM_ONLY }

/** Long lists of prices and limits. */
const PLAN_BYTES_MAX = 1_048_576

const PlanPath = Type.Object(
  {
    planId: Type.String({
      description: 'Id of a version of a plan.',
      minLength: 1,
      maxLength: 128,
      pattern: schemas.VISIBLE,
      examples: [PLAN_EXAMPLE.id]
    })
  },
  schemas.strict
)
const BODY_FAULTS = ['malformed-json', 'validation-failed', 'unsupported-media-type', 'body-too-large'] as const
const REPEATS = ['idempotency-in-flight', 'idempotency-key-reused'] as const
const CHANGE_FAULTS = ['unknown-plan', 'illegal-transition', 'version-mismatch'] as const

/** `validatePlan` checks the body, in the handler: it names the field where a union of schemas can't. */
const validatorCompiler: FastifySchemaCompiler<TSchema> = (part) =>
  part.httpPart === 'body' ? () => true : TypeBoxValidatorCompiler(part)

export function planRoutes(api: Api, dependencies: PlanDependencies): void {
  createRoute(api, dependencies)
  listRoute(api, dependencies)
  getRoute(api, dependencies)
  editRoute(api, dependencies)
  stepRoute(api, dependencies, 'publish')
  stepRoute(api, dependencies, 'archive')
}

function answerPlan(description: string) {
  return { ...schemas.answer(PlanTold, description, PLAN_EXAMPLE), headers: ETAG }
}

function createRoute(api: Api, { planStore, now }: PlanDependencies): void {
  api.post(
    '/v1/plans',
    {
      config: { access: WRITE },
      bodyLimit: PLAN_BYTES_MAX,
      validatorCompiler,
      schema: {
        operationId: 'createPlan',
        tags: ['plans'],
        summary: 'Draft a version of a plan',
        description: 'The first draft of a code is its version 1, each further one the next version.',
        body: NewPlanBody,
        response: { 201: answerPlan('The draft.'), ...schemas.problems(...BODY_FAULTS, ...REPEATS) }
      }
    },
    async (request, reply) => {
      refuseFaults(validatePlan(request.body))
      const { code, ...content } = request.body
      const plan = await planStore.insert(code, (version) => {
        const at = now()
        const draft: PlanVersion = {
          id: randomUUIDv7(),
          code,
          version,
          status: 'draft',
          ...planContentFromJson(content),
          revision: 1,
          createdAt: at,
          updatedAt: at,
          publishedAt: null
        }
        const answer = { status: 201, headers: headersOf(draft), body: JSON.stringify(planToJson(draft)) }
        const told = audited({ action: 'plan.created', before: null, after: draft })
        return { plan: draft, change: changeOf(request, { ...told, answer }) }
      })
      return reply.code(201).headers(headersOf(plan)).send(planToJson(plan))
    }
  )
}

function listRoute(api: Api, { planStore }: PlanDependencies): void {
  api.get(
    '/v1/plans',
    {
      config: { access: READ },
      schema: {
        operationId: 'listPlans',
        tags: ['plans'],
        summary: 'Plans',
        description:
          "Every version of every plan. A customer's credential sees those that are published and not held back for the other kind of customer.",
        querystring: Type.Object(
          {
            code: Type.Optional(Type.String({ description: 'Versions of one plan.', pattern: '^[a-z0-9-]{1,64}$' })),
            status: Type.Optional(schemas.oneOf(PLAN_STATUSES, 'Those with a status.')),
            ...pageQuery
          },
          schemas.strict
        ),
        response: {
          200: pageOf(PlanTold, 'A page of plans.', PLAN_EXAMPLE),
          ...schemas.problems('validation-failed')
        }
      }
    },
    async (request) => {
      const { code = null, status = null } = request.query
      return tellPage(await planStore.list(reachOf(request), { code, status, ...pageAsked(request.query) }), planToJson)
    }
  )
}

function getRoute(api: Api, { planStore }: PlanDependencies): void {
  api.get(
    '/v1/plans/:planId',
    {
      config: { access: READ },
      schema: {
        operationId: 'getPlan',
        tags: ['plans'],
        summary: 'A version of a plan',
        description: "A customer's credential finds archived versions too: it may still subscribe to one.",
        params: PlanPath,
        response: { 200: answerPlan('The plan.'), ...schemas.problems('validation-failed', 'unknown-plan') }
      }
    },
    async (request, reply) => {
      const plan = await getPlan(planStore, request)
      return reply.headers(etagOf(asVersioned(plan))).send(planToJson(plan))
    }
  )
}

function editRoute(api: Api, { planStore, now }: PlanDependencies): void {
  api.patch(
    '/v1/plans/:planId',
    {
      config: { access: WRITE },
      bodyLimit: PLAN_BYTES_MAX,
      validatorCompiler,
      schema: {
        operationId: 'editPlan',
        tags: ['plans'],
        summary: 'Edit a draft',
        params: PlanPath,
        headers: IfMatch,
        body: PlanPatch,
        response: {
          200: answerPlan('The draft as it stands now.'),
          ...schemas.problems(...BODY_FAULTS, ...CHANGE_FAULTS, 'precondition-required')
        }
      }
    },
    async (request, reply) => {
      const before = await getPlan(planStore, request)
      const ifMatch = request.headers['if-match']
      requireMatch(ifMatch, asVersioned(before))
      const after = editPlan(before, edited(before, request.body), now())
      if (after === null) throw illegal(before, 'only a draft is edited; draft a new version')
      const told = audited({ action: 'plan.updated', before, after })
      if ((await planStore.update(after, changeOf(request, told))) !== 'updated') throw lostRace(ifMatch)
      return reply.headers(etagOf(asVersioned(after))).send(planToJson(after))
    }
  )
}

/** Once more: today's rules may be stricter than those under which it was drafted, and publishing is for ever. */
function publishable(plan: PlanVersion): void {
  refuseFaults(validatePlan({ code: plan.code, ...planContentToJson(plan) }))
}

const STEPS = {
  publish: {
    summary: 'Publish a draft',
    description: 'From then on customers can subscribe to it, and nothing of it changes any more.',
    told: 'The published plan.',
    action: 'plan.published',
    take: publishPlan,
    check: publishable,
    refusal: 'only a draft is published'
  },
  archive: {
    summary: 'Archive a published plan',
    description: 'Nobody subscribes to it any more; whoever did goes on.',
    told: 'The archived plan.',
    action: 'plan.archived',
    take: archivePlan,
    check: () => undefined,
    refusal: 'only a published one is archived'
  }
} as const

function stepRoute(api: Api, { planStore, now }: PlanDependencies, step: keyof typeof STEPS): void {
  const { summary, description, told, action, take, check, refusal } = STEPS[step]
  api.post(
    `/v1/plans/:planId/${step}`,
    {
      config: { access: WRITE },
      schema: {
        operationId: `${step}Plan`,
        tags: ['plans'],
        summary,
        description,
        params: PlanPath,
        headers: IfMatch,
        response: {
          200: answerPlan(told),
          ...schemas.problems('validation-failed', ...CHANGE_FAULTS, 'conflicting-change', ...REPEATS)
        }
      }
    },
    async (request, reply) => {
      const before = await getPlan(planStore, request)
      const ifMatch = request.headers['if-match']
      checkMatch(ifMatch, asVersioned(before))
      const after = take(before, now())
      if (after === null) throw illegal(before, refusal)
      check(before)
      const headers = etagOf(asVersioned(after))
      const answer = { status: 200, headers, body: JSON.stringify(planToJson(after)) }
      const change = changeOf(request, { ...audited({ action, before, after }), answer })
      if ((await planStore.update(after, change)) !== 'updated') throw lostRace(ifMatch)
      return reply.headers(headers).send(planToJson(after))
    }
  )
}

async function getPlan(
  planStore: PlanStore,
  request: FastifyRequest & { readonly params: { readonly planId: string } }
): Promise<PlanVersion> {
  const { planId } = request.params
  const plan = await planStore.find(reachOf(request), planId)
  if (plan === null) throw new ProblemError('unknown-plan', `The plan ${planId} is not known.`)
  return plan
}

function illegal({ id, status }: PlanVersion, rule: string): ProblemError {
  return new ProblemError('illegal-transition', `The plan ${id} is ${status}: ${rule}.`)
}

/** The content that a patch makes; the code is not part of it. */
function edited(plan: PlanVersion, patch: Partial<PlanContentJson>): PlanContent {
  const { code } = plan
  if (typeof patch !== 'object' || patch === null || Array.isArray(patch)) refuseFaults(validatePlan(patch))
  const content = { ...planContentToJson(plan), ...patch }
  const stated = Object.hasOwn(patch, 'code') ? [{ field: 'code', message: 'is not a known field' }] : []
  refuseFaults([...stated, ...validatePlan({ ...content, code })])
  return planContentFromJson(content)
}

function refuseFaults(faults: readonly FieldFault[]): void {
  if (faults.length === 0) return
  throw new ProblemError('validation-failed', 'See `errors`.', { errors: faults.slice(0, FAULTS_MAX) })
}

interface PlanAct {
  readonly action: string
  readonly before: PlanVersion | null
  readonly after: PlanVersion
}

/** In the platform's own trail; no other service is told. */
function audited({ action, before, after }: PlanAct) {
  return {
    customerId: null,
    action,
    entity: { kind: 'plan', id: after.id },
    before: before === null ? null : planToJson(before),
    after: planToJson(after),
    at: after.updatedAt
  }
}

function headersOf(plan: PlanVersion) {
  return { ...etagOf(asVersioned(plan)), location: `/v1/plans/${plan.id}` }
}

/** The version of a plan is its number for subscribers; what If-Match is about is the revision of the row. */
function asVersioned({ revision }: PlanVersion) {
  return { version: revision }
}
