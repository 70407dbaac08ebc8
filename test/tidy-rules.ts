// The rules of test/tidy.test.ts as functions from files to faults, so that each can also be fed a bad example.
// A fault is one sentence that begins with the file. Rules about code read TypeScript's syntax tree, not the text:
// a forbidden word inside a string or a comment is no fault.

import { createHash } from 'node:crypto'
import { basename, dirname, extname, posix } from 'node:path'
import ts from 'typescript'

export interface SourceFile {
  /** Relative to the root, with forward slashes. */
  readonly path: string
  readonly text: string
}

export const FILE_LINES_MAX = 350
export const FUNCTION_LINES_MAX = 70
export const FOLDER_FILES_MAX = 14

/** The map of docs/ARCHITECTURE.md: every folder at the root that holds code. */
export const CODE_FOLDERS = [
  'domain',
  'meter',
  'ingest',
  'api',
  'billing-job',
  'sql',
  'clickhouse',
  'monitoring',
  'bench',
  'stack',
  'test'
]

const CODE_EXTENSIONS = ['.ts', '.mjs', '.lua', '.sql', '.sh']
const BANNED_WORDS = /^(managers?|helpers?|utils?|utilities|commons?|misc|base|libs?|impl|dto|v\d+|new|old|index)$/
/** Words that say nothing as the only noun of a name. */
const BANNED_ALONE = /^(data|info|items?|types|interfaces|constants|functions|stuff)$/
const UNFINISHED = /\b(TO[D]O|FIX[M]E|XX[X]|HAC[K])\b/

/** Variables that the system or Node gives a process, and the size of the fault tests: no process of ours is configured by them. */
const FOREIGN_VARIABLES = new Set([
  'CI',
  'DEBUG',
  'HOME',
  'LANG',
  'NODE_ENV',
  'NO_COLOR',
  'PATH',
  'TMPDIR',
  'TZ',
  'USER',
  'XDG_CACHE_HOME',
  'FAULT_ROUNDS'
])

export function isCode({ path }: SourceFile): boolean {
  return CODE_EXTENSIONS.includes(extname(path)) || path === '.ci/run'
}

export function isTest({ path }: SourceFile): boolean {
  return path.endsWith('.test.ts')
}

export function findLongFiles(files: readonly SourceFile[]): string[] {
  return files
    .filter(isCode)
    .map(({ path, text }) => ({ path, lines: text.trimEnd().split('\n').length }))
    .filter(({ lines }) => lines > FILE_LINES_MAX)
    .map(({ path, lines }) => `${path} has ${lines} lines; the most is ${FILE_LINES_MAX}`)
}

export function findLongFunctions(files: readonly SourceFile[]): string[] {
  return findInSyntax(files, (node, tree) => {
    if (!ts.isFunctionLike(node) || !('body' in node) || node.body === undefined) return undefined
    const lines = lineOf(tree, node.end) - lineOf(tree, node.getStart(tree)) + 1
    return lines > FUNCTION_LINES_MAX
      ? `holds a function of ${lines} lines; the most is ${FUNCTION_LINES_MAX}`
      : undefined
  })
}

export function findBannedNames(files: readonly SourceFile[]): string[] {
  return files.flatMap(({ path }) => {
    const names = path.split('/').map((part) => part.replace(/(\.test)?\.[a-z]+$/, ''))
    const bad = names.find(
      (name) => BANNED_ALONE.test(name) || name.split(/[-_.]/).some((word) => BANNED_WORDS.test(word))
    )
    return bad === undefined ? [] : [`${path}: "${bad}" says nothing about what is inside`]
  })
}

export function findUndescribedFolders(files: readonly SourceFile[]): string[] {
  const paths = new Set(files.map(({ path }) => path))
  const folders = new Set(
    files.filter((file) => isCode(file) && !file.path.startsWith('.')).map(({ path }) => path.split('/')[0] ?? '')
  )
  return [...folders].flatMap((folder) => {
    if (paths.has(folder)) return []
    if (!CODE_FOLDERS.includes(folder)) return [`${folder}/ is not on the map of docs/ARCHITECTURE.md`]
    return paths.has(`${folder}/README.md`) ? [] : [`${folder}/ has no README.md`]
  })
}

export function findCrowdedFolders(files: readonly SourceFile[]): string[] {
  const counts = new Map<string, number>()
  for (const file of files) {
    const folder = dirname(file.path)
    const grows = folder.endsWith('/migrations') || folder === 'bench/results'
    if (isTest(file) || basename(file.path) === 'README.md' || grows) continue
    if (CODE_FOLDERS.includes(folder.split('/')[0] ?? '')) counts.set(folder, (counts.get(folder) ?? 0) + 1)
  }
  return [...counts]
    .filter(([, count]) => count > FOLDER_FILES_MAX)
    .map(([folder, count]) => `${folder}/ holds ${count} files of its own; the most is ${FOLDER_FILES_MAX}`)
}

/**
 * A variable is read by code where a `config.ts` has a key in capitals with an underscore in it (our schemas), where
 * any code but a test takes it from `env` or `process.env` (by a dot, in brackets, by taking it apart), and where
 * docker-compose.yml has it in `${}`. Schema keys without an underscore are not seen: our variables have one.
 */
export function findUndocumentedVariables(files: readonly SourceFile[]): string[] {
  const example = files.find(({ path }) => path === '.env.example')?.text ?? ''
  const documented = new Set([...example.matchAll(/^#? ?([A-Z][A-Z0-9_]*)=/gm)].flatMap(([, name = '']) => name))
  const readBy = new Map<string, string>()
  for (const file of files) for (const name of variablesOf(file)) readBy.set(name, file.path)
  return [
    ...[...readBy]
      .filter(([name]) => !documented.has(name))
      .map(([name, path]) => `${path} reads ${name}, which .env.example lacks`),
    ...[...documented]
      .filter((name) => !readBy.has(name))
      .map((name) => `.env.example names ${name}, which nothing reads`)
  ]
}

function variablesOf(file: SourceFile): string[] {
  const { path, text } = file
  const names: (string | undefined)[] = []
  const collect = (pattern: RegExp, from: string): void => {
    names.push(...[...from.matchAll(pattern)].map(([, name]) => name))
  }
  if (basename(path) === 'config.ts') collect(/\b([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+):/g, text)
  if (path === 'docker-compose.yml') collect(/\$\{([A-Z][A-Z0-9_]*)/g, text)
  if (['.ts', '.mjs'].includes(extname(path)) && !isTest(file) && !path.startsWith('test/')) {
    collect(/\benv(?:\??\.|\[')([A-Z][A-Z0-9_]*)/g, text)
    for (const [, fields = ''] of text.matchAll(/\{([^{}]*)\} = process\.env\b/g)) {
      collect(/(?<![\w'"])([A-Z][A-Z0-9_]*)\b/g, fields)
    }
  }
  return names.filter((name) => name !== undefined).filter((name) => !FOREIGN_VARIABLES.has(name))
}

export function findBareScripts(files: readonly SourceFile[]): string[] {
  return files.flatMap(({ path, text }) => {
    if (extname(path) !== '.lua') return []
    const [first, ...rest] = text.split('\n')
    const header = rest
      .slice(
        0,
        Math.max(
          0,
          rest.findIndex((line) => !line.startsWith('--'))
        )
      )
      .join('\n')
    const missing = ['KEYS', 'ARGV', 'Returns'].filter((word) => !header.includes(word))
    return [
      ...(/^#!lua\b/.test(first ?? '') ? [] : [`${path} does not start with #!lua`]),
      ...missing.map((word) => `${path} has a header that does not name ${word}`)
    ]
  })
}

/** Migrations are append-only: each folder's checksums.json seals what may have run somewhere. */
export function findEditedMigrations(files: readonly SourceFile[]): string[] {
  const migrations = files.filter(({ path }) => path.includes('/migrations/') && extname(path) === '.sql')
  const texts = new Map(migrations.map(({ path, text }) => [path, text]))
  const sealed = new Map(
    files
      .filter(({ path }) => path.endsWith('/migrations/checksums.json'))
      .flatMap(({ path, text }) => readChecksums(dirname(path), text))
  )
  return [
    ...[...sealed].flatMap(([path, checksum]) => {
      const text = texts.get(path)
      if (text === undefined) return [`${path} is sealed, but the file is gone: bring it back`]
      return checksumOf(text) === checksum
        ? []
        : [`${path} was edited after it was sealed: put it back and add a new migration`]
    }),
    ...[...texts.keys()]
      .filter((path) => !sealed.has(path))
      .map((path) => `${path} is not sealed: run npm run seal-migrations`)
  ]
}

function readChecksums(folder: string, text: string): [path: string, checksum: string][] {
  const checksums: Record<string, string> = JSON.parse(text)
  return Object.entries(checksums).map(([name, checksum]) => [`${folder}/${name}`, checksum])
}

export function checksumOf(text: string): string {
  return createHash('sha256').update(text).digest('hex')
}

export function findSkippedTests(files: readonly SourceFile[]): string[] {
  return findInSyntax(files.filter(isTest), (node) => {
    const name =
      ts.isPropertyAccessExpression(node) && ts.isCallExpression(node.parent) && node.parent.expression === node
        ? node.name.text
        : undefined
    const option =
      ts.isPropertyAssignment(node) && isTestOption(node) && ts.isIdentifier(node.name) ? node.name.text : undefined
    return ['skip', 'todo'].includes(name ?? option ?? '') ? `does not run a test (${name ?? option})` : undefined
  })
}

function isTestOption(node: ts.PropertyAssignment): boolean {
  const call = node.parent.parent
  return (
    ts.isCallExpression(call) && ts.isPropertyAccessExpression(call.expression) && call.expression.name.text === 'test'
  )
}

export function findEmptyCatches(files: readonly SourceFile[]): string[] {
  return findInSyntax(files, (node) => {
    if (ts.isCatchClause(node))
      return node.block.statements.length === 0 ? 'swallows an error in an empty catch' : undefined
    if (!ts.isCallExpression(node) || !ts.isPropertyAccessExpression(node.expression)) return undefined
    const [handler] = node.arguments
    if (node.expression.name.text !== 'catch' || handler === undefined || !ts.isArrowFunction(handler)) return undefined
    const { body } = handler
    const swallows = ts.isBlock(body)
      ? body.statements.length === 0
      : ['undefined', 'null', 'void 0'].includes(body.getText())
    return swallows ? 'swallows a rejection' : undefined
  })
}

export function findSleepingTests(files: readonly SourceFile[]): string[] {
  return findInSyntax(files.filter(isTest), (node) =>
    ts.isIdentifier(node) && node.text === 'setTimeout'
      ? 'sets a timer: wait on a condition with a deadline'
      : undefined
  )
}

export function findForcedCasts(files: readonly SourceFile[]): string[] {
  return findInSyntax(files, (node) => {
    const isForced = ts.isAsExpression(node) && ts.isAsExpression(node.expression)
    return isForced ? 'forces a type through a double cast' : undefined
  })
}

export function findUnfinishedWork(files: readonly SourceFile[]): string[] {
  return files.filter(isCode).flatMap(({ path, text }) =>
    text.split('\n').flatMap((line, at) => {
      const word = UNFINISHED.exec(line)?.[0]
      return word === undefined ? [] : [`${path}:${at + 1} says ${word}`]
    })
  )
}

/** Links of a document to other files of the repository; a folder counts as there when a file is in it. */
export function findBrokenLinks(files: readonly SourceFile[]): string[] {
  const present = new Set(files.flatMap(({ path }) => [path, ...foldersOf(path)]))
  return files
    .filter(({ path }) => extname(path) === '.md')
    .flatMap(({ path, text }) =>
      text
        .replaceAll(/^```.*?^```|`[^`\n]*`/gms, '')
        .matchAll(/\]\(<?(?![a-z]+:|#)([^)#>\s]+)/g)
        .map(([, target = '']) => ({ target, place: posix.join(dirname(path), target).replace(/\/$/, '') }))
        .filter(({ place }) => place !== '.' && !present.has(place))
        .map(({ target }) => `${path} links to ${target}, which is not there`)
        .toArray()
    )
}

function foldersOf(path: string): string[] {
  const parts = path.split('/').slice(0, -1)
  return parts.map((_, depth) => parts.slice(0, depth + 1).join('/'))
}

type FaultOfNode = (node: ts.Node, tree: ts.SourceFile) => string | undefined

function findInSyntax(files: readonly SourceFile[], faultOf: FaultOfNode): string[] {
  const faults: string[] = []
  for (const { path, text } of files) {
    if (!['.ts', '.mjs'].includes(extname(path))) continue
    const tree = ts.createSourceFile(path, text, ts.ScriptTarget.Latest, true)
    const visit = (node: ts.Node): void => {
      const fault = faultOf(node, tree)
      if (fault !== undefined) faults.push(`${path}:${lineOf(tree, node.getStart(tree))} ${fault}`)
      ts.forEachChild(node, visit)
    }
    visit(tree)
  }
  return faults
}

function lineOf(tree: ts.SourceFile, position: number): number {
  return tree.getLineAndCharacterOfPosition(position).line + 1
}
