import t from 'tap'
import { openapi } from './openapi.ts'
import { API_KEY, startTestApp } from './ports-in-memory.ts'

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
interface Operation {
  readonly operationId?: string
  readonly summary?: string
  readonly tags?: readonly string[]
  readonly security?: readonly object[]
  readonly parameters?: readonly Parameter[]
  readonly requestBody?: { readonly content: Readonly<Record<string, Media>> }
  readonly responses: Readonly<
    Record<string, { readonly description: string; readonly content?: Readonly<Record<string, Media>> }>
  >
}
interface Document {
  readonly openapi: string
  readonly info: { readonly title: string; readonly version: string }
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>
  readonly components: { readonly schemas: object; readonly securitySchemes: object }
}

const { app } = await startTestApp()
t.teardown(() => app.close())
const document: Document = JSON.parse((await app.inject('/openapi.json')).payload)
const operations = Object.entries(document.paths).flatMap(([path, methods]) =>
  Object.entries(methods).map(([method, operation]) => ({ name: `${method} ${path}`, path, operation }))
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

t.test('every operation has its own id, a summary, a known tag and an access rule', async (t) => {
  const ids = operations.map(({ operation }) => operation.operationId)
  t.equal(new Set(ids).size, operations.length)
  for (const { name, path, operation } of operations) {
    t.match(operation, { operationId: /^[a-z][A-Za-z]+$/, summary: String, tags: { length: 1 } }, name)
    t.same(operation.security, path.startsWith('/v1/') ? [{ bearer: [] }, { apiKey: [] }] : [], name)
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
    const [method = ''] = name.split(' ', 1)
    const url = path.replaceAll(/\{(\w+)\}/g, (_, parameter: string) => exampleOf(operation, parameter))
    const query = (operation.parameters ?? []).filter((parameter) => parameter.in === 'query' && parameter.required)
    const search = new URLSearchParams(Object.fromEntries(query.map(({ name }) => [name, exampleOf(operation, name)])))
    for (const [type, { example, examples }] of Object.entries(operation.requestBody?.content ?? { '': {} })) {
      for (const body of examples === undefined
        ? [example]
        : Object.values(examples).map((named) => entryOf(named, 'value'))) {
        const response = await app.inject({
          method: method === 'get' ? 'GET' : method === 'put' ? 'PUT' : 'POST',
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

function exampleOf({ parameters = [] }: Operation, name: string): string {
  return String(parameters.find((parameter) => parameter.name === name)?.example)
}

function hasExample({ example, examples, schema = {} }: Media): boolean {
  return example !== undefined || examples !== undefined || entryOf(schema, 'examples') !== undefined
}
