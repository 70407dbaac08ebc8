import { readFileSync } from 'node:fs'
import t from 'tap'
import { CLIENT_TYPES_FILE, clientTypes } from './client-types.ts'

t.test("the client's types are those of the routes as they are", async (t) => {
  const isSame = readFileSync(CLIENT_TYPES_FILE, 'utf8') === (await clientTypes())
  t.ok(isSame, 'a route or schema has changed: renew the types by `npm run client:types`')
})
