/** Plants a defect in the sources that are loaded from here on: TypeScript by a hook of Node's loader, Lua as it is read. */
import fs from 'node:fs'
import { registerHooks, syncBuiltinESMExports } from 'node:module'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { DEFECTS, type Edit } from './defects.ts'

const ROOT = join(import.meta.dirname, '..', '..')

/** Throws when a fragment does not stand exactly once where the defect says, or the defect is not known. */
export function plantDefect(name: string): void {
  const defect = DEFECTS.find((one) => one.name === name)
  if (defect === undefined) throw new Error(`no defect ${name}; there are ${DEFECTS.map((one) => one.name).join(', ')}`)
  const sources = new Map<string, string>()
  for (const edit of defect.edits) {
    const path = join(ROOT, edit.file)
    sources.set(path, edited(sources.get(path) ?? fs.readFileSync(path, 'utf8'), edit))
  }
  registerHooks({
    load(url, context, nextLoad) {
      const source = url.startsWith('file:') ? sources.get(fileURLToPath(url)) : undefined
      if (source === undefined) return nextLoad(url, context)
      return { format: 'module-typescript', source, shortCircuit: true }
    }
  })
  readInstead(sources)
}

function edited(source: string, { file, find, replace }: Edit): string {
  const [before, after, ...more] = source.split(find)
  if (before === undefined || after === undefined || more.length > 0)
    throw new Error(`${file} does not hold exactly once: ${find}`)
  return before + replace + after
}

/** Scripts are read, not imported. */
function readInstead(sources: ReadonlyMap<string, string>): void {
  const read = fs.readFileSync
  fs.readFileSync = new Proxy(read, {
    apply(target, self, args: Parameters<typeof read>) {
      const [path] = args
      const source = path instanceof URL ? sources.get(fileURLToPath(path)) : undefined
      return source ?? Reflect.apply(target, self, args)
    }
  })
  syncBuiltinESMExports()
}
