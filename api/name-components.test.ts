import t from 'tap'
import { nameComponents } from './name-components.ts'

const period = { type: 'object', title: 'Period', properties: { start: { type: 'string' } } }

function documentOf(...schemas: readonly object[]) {
  const operations = schemas.map((schema, index) => [
    `/${index}`,
    { get: { responses: { 200: { description: 'It.', content: { 'application/json': { schema } } } } } }
  ])
  return { paths: Object.fromEntries(operations), components: { schemas: {} } }
}

t.test('a schema with a title stands in one place, and what describes it stays where it is used', async (t) => {
  const list = { type: 'array', items: { ...period, description: 'In order.' } }
  const { paths, components } = nameComponents(documentOf({ ...period, examples: [{ start: 'a' }] }, list))
  const schemaOf = (path: string) => paths[path].get.responses[200].content['application/json'].schema
  t.same(components.schemas, { Period: { type: 'object', properties: { start: { type: 'string' } } } })
  t.same(schemaOf('/0'), { $ref: '#/components/schemas/Period', examples: [{ start: 'a' }] })
  t.same(schemaOf('/1'), { type: 'array', items: { $ref: '#/components/schemas/Period', description: 'In order.' } })
})

t.test('two schemas that differ can not have one name', async (t) => {
  t.throws(() => nameComponents(documentOf(period, { ...period, required: ['start'] })), /two schemas are named Period/)
})
