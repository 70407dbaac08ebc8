/**
 * Schemas that have a title get a place of their own in the OpenAPI document and are referred to from where they stood: clients are
 * generated with types that have names. The same for the answers that are problems, and their examples: the document is a third of what
 * it would be.
 */
import { isDeepStrictEqual } from 'node:util'
import { PROBLEM_MEDIA_TYPE } from './problem.ts'

interface Schema {
  readonly title?: string
  readonly description?: string
  readonly examples?: readonly unknown[]
  readonly [keyword: string]: unknown
}
interface Media {
  schema?: Schema
  examples?: Record<string, object>
}
interface Body {
  readonly content?: Readonly<Record<string, Media>>
}
interface Operation {
  readonly requestBody?: Body
  readonly responses: Record<string, Body | Reference>
}
interface Reference {
  readonly $ref: string
}
interface Components {
  schemas: Record<string, Schema>
  responses?: Record<string, object>
  examples?: Record<string, object>
}
interface Document {
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>
  readonly components: Components
}

/** Keywords whose value is a schema, a list of schemas, or schemas by name. */
const WITH_ONE = ['items', 'additionalProperties'] as const
const WITH_SEVERAL = ['anyOf', 'oneOf', 'allOf'] as const
const WITH_NAMED = ['properties', 'patternProperties'] as const

/** Throws when two schemas that differ have one title: a client would be given the wrong type for one of them. */
export function nameComponents<T extends object>(document: T): T {
  const copy: T & Document = JSON.parse(JSON.stringify(document))
  const components = { responses: {}, examples: {}, ...copy.components }
  for (const { requestBody, responses } of Object.values(copy.paths).flatMap((methods) => Object.values(methods))) {
    nameSchemas(requestBody ?? {}, components)
    for (const [status, response] of Object.entries(responses)) {
      nameSchemas(response, components)
      responses[status] = nameProblems(status, response, components)
    }
  }
  return { ...copy, components }
}

function nameSchemas(body: Body | Reference, { schemas }: Components): void {
  if ('$ref' in body) return
  for (const media of Object.values(body.content ?? {})) {
    if (media.schema !== undefined) media.schema = refer(media.schema, schemas)
  }
}

/** An answer goes by its status and the codes it may have; an example by its code, and is the same wherever that is answered. */
function nameProblems(status: string, response: Body | Reference, components: Required<Components>): Body | Reference {
  const problem = '$ref' in response ? undefined : response.content?.[PROBLEM_MEDIA_TYPE]
  if (problem === undefined) return response
  const codes = Object.keys(problem.examples ?? {})
  Object.assign(components.examples, problem.examples)
  problem.examples = Object.fromEntries(codes.map((code) => [code, { $ref: `#/components/examples/${code}` }]))
  const name = [status, ...codes].join('-')
  components.responses[name] = response
  return { $ref: `#/components/responses/${name}` }
}

/** `description` and `examples` may differ from place to place, and stay where they are. */
function refer(schema: Schema, named: Record<string, Schema>): Schema {
  const { title, description, examples, ...content } = mapParts(schema, (part) => refer(part, named))
  const place = {
    ...(description === undefined ? {} : { description }),
    ...(examples === undefined ? {} : { examples })
  }
  if (title === undefined) return { ...content, ...place }
  const earlier = named[title]
  if (earlier !== undefined && !isDeepStrictEqual(earlier, content)) throw new Error(`two schemas are named ${title}`)
  named[title] = content
  return { $ref: `#/components/schemas/${title}`, ...place }
}

function mapParts(schema: Schema, map: (part: Schema) => Schema): Schema {
  const parts: Record<string, unknown> = {}
  for (const keyword of WITH_ONE) {
    const part = schema[keyword]
    if (isSchema(part)) parts[keyword] = map(part)
  }
  for (const keyword of WITH_SEVERAL) {
    const several = schema[keyword]
    if (Array.isArray(several)) parts[keyword] = several.map((part: Schema) => map(part))
  }
  for (const keyword of WITH_NAMED) {
    const named = schema[keyword]
    if (isSchema(named)) {
      const mapped = Object.entries(named).map(([name, part]) => [name, isSchema(part) ? map(part) : part])
      parts[keyword] = Object.fromEntries(mapped)
    }
  }
  return { ...schema, ...parts }
}

function isSchema(part: unknown): part is Schema {
  return typeof part === 'object' && part !== null && !Array.isArray(part)
}
