import { spawn } from 'node:child_process'
import { findJavaVersion, findPostgresProgram, findProgram, isInstalled } from './find-program.ts'
import { hasKafkaJars } from './kafka-jars.ts'

const JAVA_VERSION_MIN = 17

/** The Debian packages that this machine lacks. Maven is needed only until the broker's jars are in the cache. */
export function listMissingPackages(): string[] {
  const missing: string[] = []
  if (!isInstalled(() => findProgram('redis-server'))) missing.push('redis-server')
  if (!isInstalled(() => findPostgresProgram('initdb'))) missing.push('postgresql')
  if (findJavaVersion() < JAVA_VERSION_MIN) missing.push('default-jre-headless')
  if (!hasKafkaJars() && !isInstalled(() => findProgram('mvn'))) missing.push('maven')
  return missing
}

/**
 * What only tests use, by the package it comes in: an independent Kafka client, a browser for the page that describes the API,
 * and who judges metrics, alerts and the compose file in earnest.
 */
const TEST_PROGRAMS: Readonly<Record<string, string>> = {
  kcat: 'kcat',
  chromium: 'chromium',
  prometheus: 'promtool',
  'docker-compose': 'docker-compose'
}

/** The Debian packages of the programs that only tests use and this machine lacks. */
export function listMissingTestPrograms(): string[] {
  return Object.entries(TEST_PROGRAMS).flatMap(([name, program]) =>
    isInstalled(() => findProgram(program)) ? [] : [name]
  )
}

export async function ensurePackages(onProgress: (line: string) => void): Promise<void> {
  await installMissing(listMissingPackages, onProgress)
}

/** Installs what is missing when this user may; otherwise fails with the command that does. */
export async function installMissing(
  listMissing: () => readonly string[],
  onProgress: (line: string) => void
): Promise<void> {
  const missing = listMissing()
  if (missing.length === 0) return
  const command = `apt-get update && apt-get install -y --no-install-recommends ${missing.join(' ')}`
  const mayInstall = process.getuid?.() === 0 && isInstalled(() => findProgram('apt-get'))
  if (!mayInstall) throw new Error(`${missing.join(', ')} must be there; install with: sudo sh -c '${command}'`)
  onProgress(`packages: installing ${missing.join(', ')} (${command})`)
  await runShell(command)
  const stillMissing = listMissing()
  if (stillMissing.length > 0) throw new Error(`apt-get has run, and ${stillMissing.join(', ')} is still missing`)
}

/** A cluster, a Redis or a Prometheus that the packages start by themselves is left alone: ours have ports and data of their own. */
async function runShell(command: string): Promise<void> {
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' }
  const shell = spawn('sh', ['-c', command], { stdio: ['ignore', 2, 2], env })
  await new Promise<void>((resolve, reject) => {
    shell.once('error', reject)
    shell.once('exit', (code) => {
      if (code === 0) resolve()
      else reject(new Error(`apt-get ended with ${code}; its output is above`))
    })
  })
}
