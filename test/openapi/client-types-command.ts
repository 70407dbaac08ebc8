// `npm run client:types`: renews the types of the client after a change of a route or schema.

import { writeFileSync } from 'node:fs'
import { CLIENT_TYPES_FILE, clientTypes } from './client-types.ts'

writeFileSync(CLIENT_TYPES_FILE, await clientTypes())
console.log(`wrote ${CLIENT_TYPES_FILE}`)
