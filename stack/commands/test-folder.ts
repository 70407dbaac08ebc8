import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { projectFolder } from '../machine/native-server.ts'

/** The test files of a folder, as tap takes them. */
export function testFolder(folder: string): string[] {
  const names = readdirSync(join(projectFolder(), folder)).filter((name) => name.endsWith('.test.ts'))
  return names.map((name) => join(folder, name))
}
