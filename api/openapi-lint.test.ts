import t from 'tap'
import { builtDocument } from '../test/openapi/built-document.ts'
import { lintDocument } from '../test/openapi/lint-document.ts'

const document = await builtDocument()

t.test('the OpenAPI document has no fault by the strict rules of redocly.yaml', async (t) => {
  t.same(await lintDocument(document), { errors: 0, warnings: 0, faults: [] })
})

t.test('a document with faults is found out, each with its rule and its place', async (t) => {
  const { errors, faults } = await lintDocument({ ...document, tags: [], unknown: true })
  t.equal(errors, faults.length)
  for (const rule of ['operation-tag-defined', 'struct'])
    t.ok(
      faults.some((fault) => fault.startsWith(`${rule}: `)),
      rule
    )
})
