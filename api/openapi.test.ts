import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { startCustomerService } from '../test/customer-service.ts'
import { openapi } from './openapi.ts'
import { API_KEY } from './ports-in-memory.ts'
import { PROBLEM_CODES, statusOfProblem, titleOfProblem } from './problem.ts'

interface Media {
  readonly schema?: object
  readonly example?: unknown
  readonly examples?: object
}
interface Parameter {
  readonly name: string
  readonly in: string
  readonly required?: boolean
  readonly description?: string
  readonly example?: unknown
}
interface Answer {
  readonly description: string
  readonly content?: Readonly<Record<string, Media>>
}
interface Operation {
  readonly operationId?: string
  readonly summary?: string
  readonly tags?: readonly string[]
  readonly security?: readonly object[]
  readonly parameters?: readonly Parameter[]
  readonly requestBody?: { readonly content: Readonly<Record<string, Media>> }
  readonly responses: Readonly<Record<string, Answer>>
}
/** As the document has it: answers that are problems stand in one place for all operations. */
interface Referring extends Omit<Operation, 'responses'> {
  readonly responses: Readonly<Record<string, Answer | { readonly $ref: string }>>
}
interface Document {
  readonly openapi: string
  readonly info: { readonly title: string; readonly version: string }
  readonly paths: Readonly<Record<string, Readonly<Record<string, Referring>>>>
  readonly components: {
    readonly schemas: object
    readonly responses: Readonly<Record<string, Answer>>
    readonly securitySchemes: object
  }
}

const METHODS = ['GET', 'POST', 'PUT', 'PATCH', 'DELETE'] as const

const { app } = await startCustomerService(t)
const document: Document = JSON.parse((await app.inject('/openapi.json')).payload)
const operations = Object.entries(document.paths).flatMap(([path, methods]) =>
  Object.entries(methods).map(([method, referring]) => ({
    name: `${method} ${path}`,
    path,
    operation: withAnswers(referring)
  }))
)

t.test('the document is OpenAPI 3.1, whole, and the same as the one handed to linters', async (t) => {
  t.match(document, { openapi: /^3\.1\./, info: { title: 'tokenmeter', version: /^\d+\.\d+\.\d+$/ } })
  t.same(JSON.parse(JSON.stringify(openapi(app))), document)
  for (const path of Object.keys(document.paths)) t.match(path, /^\/[\w{}./-]*$/)
})

t.test('every reference leads somewhere', async (t) => {
  for (const [, pointer = ''] of JSON.stringify(document).matchAll(/"\$ref":"#([^"]+)"/g)) {
    const target = pointer
      .split('/')
      .slice(1)
      .reduce<unknown>((at, key) => entryOf(at, key), document)
    t.ok(target, pointer)
  }
})

/** A payment provider's webhook has no credential: its signature says whose it is. */
function isSigned(path: string): boolean {
  return path.startsWith('/v1/payment-events/')
}

t.test('every operation has its own id, a summary, a known tag and an access rule', async (t) => {
  const ids = operations.map(({ operation }) => operation.operationId)
  t.equal(new Set(ids).size, operations.length)
  for (const { name, path, operation } of operations) {
    t.match(operation, { operationId: /^[a-z][A-Za-z]+$/, summary: String, tags: { length: 1 } }, name)
    t.same(operation.security, isSigned(path) || !path.startsWith('/v1/') ? [] : [{ bearer: [] }, { apiKey: [] }], name)
  }
})

t.test('every body, in and out, has an example', async (t) => {
  for (const { name, operation } of operations) {
    const bodies = [
      operation.requestBody?.content ?? {},
      ...Object.values(operation.responses).map(({ content = {} }) => content)
    ]
    for (const [type, media] of bodies.flatMap((content) => Object.entries(content))) {
      t.ok(hasExample(media), `${name} ${type}`)
    }
  }
})

t.test('every example request is one the API takes, with what it needs and no more', async (t) => {
  for (const { name, path, operation } of operations) {
    const method = METHODS.find((known) => name.startsWith(`${known.toLowerCase()} `)) ?? 'GET'
    const url = path.replaceAll(/\{(\w+)\}/g, (_, parameter: string) => exampleOf(operation, parameter))
    const query = (operation.parameters ?? []).filter((parameter) => parameter.in === 'query' && parameter.required)
    const search = new URLSearchParams(Object.fromEntries(query.map(({ name }) => [name, exampleOf(operation, name)])))
    for (const [type, { example, examples }] of Object.entries(operation.requestBody?.content ?? { '': {} })) {
      for (const body of examples === undefined
        ? [example]
        : Object.values(examples).map((named) => entryOf(named, 'value'))) {
        const response = await app.inject({
          method,
          url: `${url}?${search}`,
          headers: { 'x-api-key': API_KEY, ...(type === '' ? {} : { 'content-type': type }) },
          ...(type === '' ? {} : { payload: JSON.stringify(body) })
        })
        t.notMatch(
          String(response.statusCode),
          /400|405|413|415|422|500/,
          `${name} ${type}: ${response.payload.slice(0, 300)}`
        )
      }
    }
  }
})

t.test('every path parameter is described', async (t) => {
  for (const { name, path, operation } of operations) {
    const named = [...path.matchAll(/\{(\w+)\}/g)].map(([, parameter]) => parameter)
    for (const parameter of named) {
      t.ok(operation.parameters?.find((described) => described.name === parameter)?.description, `${name} ${parameter}`)
    }
  }
})

t.test(
  'every POST names the Idempotency-Key, but those that change nothing or whose body names what they do',
  async (t) => {
    const posts = operations.filter(({ name }) => name.startsWith('post '))
    const without = posts.filter(
      ({ operation }) => !operation.parameters?.some(({ name }) => name === 'idempotency-key')
    )
    for (const { name } of without) t.match(name, /\/quota\/|\/usage-events|\/preview$|\/payment-events\//)
    t.ok(without.length < posts.length / 2)
  }
)

t.test('every operation of /v1 tells its success and its refusals', async (t) => {
  for (const { name, operation } of operations.filter(({ path }) => path.startsWith('/v1/'))) {
    const statuses = Object.keys(operation.responses)
    t.ok(
      statuses.some((status) => status.startsWith('2')),
      name
    )
    for (const status of ['401', '500', '503']) t.ok(statuses.includes(status), `${name} ${status}`)
    for (const { description } of Object.values(operation.responses)) t.not(description, 'Default Response', name)
  }
})

t.test('the documentation page runs its own scripts only', async (t) => {
  const page = await app.inject('/docs')
  t.equal(page.statusCode, 200)
  t.match(page.headers['content-security-policy'], "script-src 'self';")
})

function entryOf(at: unknown, key: string): unknown {
  return typeof at === 'object' && at !== null ? Object.entries(at).find(([name]) => name === key)?.[1] : undefined
}

function withAnswers({ responses, ...operation }: Referring): Operation {
  const answers = Object.entries(responses).map(([status, answer]): [string, Answer] => {
    if (!('$ref' in answer)) return [status, answer]
    const named = document.components.responses[answer.$ref.replace('#/components/responses/', '')]
    if (named === undefined) throw new Error(`${answer.$ref} leads nowhere`)
    return [status, named]
  })
  return { ...operation, responses: Object.fromEntries(answers) }
}

function exampleOf({ parameters = [] }: Operation, name: string): string {
  return String(parameters.find((parameter) => parameter.name === name)?.example)
}

function hasExample({ example, examples, schema = {} }: Media): boolean {
  return example !== undefined || examples !== undefined || entryOf(schema, 'examples') !== undefined
}

t.test(
  'docs/api.md lists every code of a problem with its status and meaning, in the order of the table, and no other',
  async (t) => {
    const text = readFileSync(join(import.meta.dirname, '..', 'docs', 'api.md'), 'utf8')
    const rows = text.split('\n').filter((line) => /^\| \d{3} \| `/.test(line))
    t.same(
      rows,
      PROBLEM_CODES.map((code) => `| ${statusOfProblem(code)} | \`${code}\` | ${titleOfProblem(code)} |`)
    )
  }
)
