// The repository's own files, as the rules of test/tidy-rules.ts read them.

import { readdirSync, readFileSync } from 'node:fs'
import { extname, join } from 'node:path'
import type { SourceFile } from './tidy-rules.ts'

export const ROOT = join(import.meta.dirname, '..')

const FOREIGN_FOLDERS = ['node_modules', '.git', '.stack', '.tap']
const BINARY_EXTENSIONS = ['.png', '.jpg', '.pdf', '.gz', '.zip', '.ico', '.woff2']

export function readSourceFiles(): SourceFile[] {
  return listPaths('').map((path) => ({ path, text: readFileSync(join(ROOT, path), 'utf8') }))
}

function listPaths(folder: string): string[] {
  return readdirSync(join(ROOT, folder), { withFileTypes: true }).flatMap((entry) => {
    const path = folder === '' ? entry.name : `${folder}/${entry.name}`
    if (entry.isDirectory()) return FOREIGN_FOLDERS.includes(entry.name) ? [] : listPaths(path)
    return entry.isFile() && !BINARY_EXTENSIONS.includes(extname(path)) ? [path] : []
  })
}
