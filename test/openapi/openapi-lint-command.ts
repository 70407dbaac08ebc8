// `npm run openapi:lint`: the OpenAPI document of the app, held against redocly.yaml. Ends with 1 on any error or warning.

import { builtDocument } from './built-document.ts'
import { lintDocument } from './lint-document.ts'

const { errors, warnings, faults } = await lintDocument(await builtDocument())
for (const fault of faults) console.error(fault)
console.log(`OpenAPI document: ${errors} errors, ${warnings} warnings`)
process.exitCode = errors + warnings > 0 ? 1 : 0
