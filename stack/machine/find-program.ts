import { spawnSync } from 'node:child_process'
import { accessSync, constants, readdirSync } from 'node:fs'
import { delimiter, join } from 'node:path'

const DEBIAN_POSTGRES = '/usr/lib/postgresql'

/** The path of a program on the PATH (or in the folders every system has); throws when there is none. */
export function findProgram(name: string): string {
  const path = lookUp(name, [...(process.env.PATH ?? '').split(delimiter), '/usr/bin', '/usr/sbin', '/usr/local/bin'])
  if (path === null) throw new Error(`${name} is not installed`)
  return path
}

/** Debian keeps PostgreSQL's programs of each version in a folder of their own, off the PATH; the newest is taken. */
export function findPostgresProgram(name: string): string {
  const path = lookUp(name, listDebianPostgresFolders()) ?? lookUp(name, (process.env.PATH ?? '').split(delimiter))
  if (path === null) throw new Error(`PostgreSQL's ${name} is not installed`)
  return path
}

/** The major version of the Java runtime, 0 when there is none. `java` prints its properties to its error stream. */
export function findJavaVersion(): number {
  if (!isInstalled(() => findProgram('java'))) return 0
  const { stderr } = spawnSync(findProgram('java'), ['-XshowSettings:properties', '-version'], { encoding: 'utf8' })
  return Number(/java\.specification\.version = (\d+)/.exec(stderr)?.[1] ?? 0)
}

export function isInstalled(find: () => string): boolean {
  try {
    return find() !== ''
  } catch {
    return false
  }
}

function listDebianPostgresFolders(): string[] {
  try {
    const versions = readdirSync(DEBIAN_POSTGRES).sort((a, b) => Number(b) - Number(a))
    return versions.map((version) => join(DEBIAN_POSTGRES, version, 'bin'))
  } catch {
    return []
  }
}

function lookUp(name: string, folders: readonly string[]): string | null {
  const paths = folders.filter((folder) => folder !== '').map((folder) => join(folder, name))
  return paths.find(isExecutable) ?? null
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch {
    return false
  }
}
