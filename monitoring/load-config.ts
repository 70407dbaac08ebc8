// Reads the environment by the fragments of config.ts: once, at the start of a process, before anything connects.

import { envSchema } from 'env-schema'
import Type, { type Static, type TObject } from 'typebox'
import { findContradictions } from './config.ts'

type ConfigOf<Fragments> = Fragments extends readonly [infer First extends TObject, ...infer Rest]
  ? Readonly<Static<First>> & ConfigOf<Rest>
  : unknown

type Environment = Readonly<Record<string, string | undefined>>

/** Lists every fault by the name of its variable, never by its value, which may be a secret. */
export class ConfigError extends Error {
  readonly code = 'invalid-config'
  readonly faults: readonly string[]

  constructor(faults: readonly string[]) {
    super(`the configuration has ${faults.length} fault(s):\n${faults.map((fault) => `  - ${fault}`).join('\n')}`)
    this.name = 'ConfigError'
    this.faults = faults
  }
}

/** The values of the fragments' variables, frozen, with defaults; throws `ConfigError` with every fault at once. */
export function loadConfig<const Fragments extends readonly TObject[]>(
  fragments: Fragments,
  environment: Environment = process.env
): ConfigOf<Fragments> {
  const schema = Type.Object(Object.assign({}, ...fragments.map((fragment) => fragment.properties)))
  const given = Object.fromEntries(
    Object.entries(environment).filter(([, value]) => value !== undefined && value !== '')
  )
  const { config, faults } = readVariables(schema, given)
  const all = [...faults, ...findContradictions(config)]
  if (all.length > 0) throw new ConfigError(all)
  for (const value of Object.values(config)) Object.freeze(value)
  return Object.freeze(config) as ConfigOf<Fragments>
}

/** True when the process was started with `--validate`: it then ends after loading its configuration, and connects to nothing. */
export function validateOnly(args: readonly string[] = process.argv): boolean {
  return args.includes('--validate')
}

interface Reading {
  readonly config: Readonly<Record<string, unknown>>
  readonly faults: readonly string[]
}

/** When variables are at fault, the others are read all the same, so that they can be held against each other. */
function readVariables(schema: TObject, given: Record<string, unknown>): Reading {
  try {
    return { config: envSchema<Record<string, unknown>>({ schema, data: given, env: false }), faults: [] }
  } catch (error) {
    const found = schemaFaults(error)
    if (found.length === 0) throw error
    const faulty = new Set(found.map(({ name }) => name))
    const sound = Object.entries(schema.properties).filter(([name]) => !faulty.has(name))
    const rest = readVariables(Type.Object(Object.fromEntries(sound)), given)
    const faults = found.map(({ name, message }) => `${name} ${message}${describe(schema, name)}`)
    return { config: rest.config, faults: [...new Set(faults), ...rest.faults] }
  }
}

/** The validator's own words for what it found, as far as we read them. */
interface SchemaFault {
  readonly keyword: string
  readonly instancePath: string
  readonly message?: string
  readonly params: { readonly missingProperty?: string; readonly allowedValues?: readonly string[] }
}

function schemaFaults(error: unknown): { readonly name: string; readonly message: string }[] {
  if (!(error instanceof Error) || !('errors' in error) || !Array.isArray(error.errors)) return []
  const found: readonly SchemaFault[] = error.errors
  return found.map(({ keyword, instancePath, message = 'is not valid', params }) => {
    if (params.missingProperty !== undefined) return { name: params.missingProperty, message: 'is not set' }
    const name = instancePath.slice(1)
    if (keyword === 'enum') return { name, message: `must be one of ${params.allowedValues?.join(', ')}` }
    return { name, message }
  })
}

function describe(schema: TObject, name: string): string {
  const variable = schema.properties[name]
  const description = variable !== undefined && 'description' in variable ? variable.description : undefined
  return typeof description === 'string' ? `. ${description}` : ''
}
