import type { TSchema } from 'typebox'
import { allFragments } from './config.ts'

const LINE_LENGTH_MAX = 110

const HEADER = `# Every variable that a process of tokenmeter reads. Written by node monitoring/env-example-command.ts from
# monitoring/config.ts: change it there. What stands without a # has no default and must be set.
# Secrets belong into the environment of the process, never into a file that is committed.
`

/** The text of .env.example: each variable with its description and its default, or an example where it has none. */
export function renderEnvExample(): string {
  const sections = allFragments.map(([title, fragment]) => {
    const required = new Set<string>(fragment.required ?? [])
    const variables = Object.entries<TSchema>(fragment.properties).map(([name, schema]) =>
      renderVariable(name, schema, required.has(name))
    )
    return `\n# ---- ${title} ----\n\n${variables.join('\n')}`
  })
  return `${HEADER}${sections.join('')}`
}

function renderVariable(name: string, schema: TSchema, isRequired: boolean): string {
  const { description = '', default: byDefault, examples, minimum, maximum } = schema as VariableSchema
  const example = Array.isArray(examples) ? examples[0] : undefined
  const bounds = [
    ...(minimum === undefined ? [] : [`At least ${minimum}.`]),
    ...(maximum === undefined ? [] : [`At most ${maximum}.`])
  ]
  const comment = wrap([description, ...bounds].join(' '))
  const hasDefault = byDefault !== undefined && byDefault !== ''
  const mark = isRequired && byDefault === undefined ? '' : '# '
  return `${comment}\n${mark}${name}=${hasDefault ? byDefault : (example ?? '')}\n`
}

interface VariableSchema {
  readonly description?: string
  readonly default?: string | number | boolean
  readonly examples?: readonly string[]
  readonly minimum?: number
  readonly maximum?: number
}

function wrap(text: string): string {
  const lines: string[] = []
  let line = '#'
  for (const word of text.split(' ')) {
    if (line.length + 1 + word.length > LINE_LENGTH_MAX) {
      lines.push(line)
      line = '#'
    }
    line += ` ${word}`
  }
  return [...lines, line].join('\n')
}
