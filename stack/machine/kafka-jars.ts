import { spawn } from 'node:child_process'
import { existsSync, mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { dirname, join } from 'node:path'
import { findProgram } from './find-program.ts'
import { projectFolder } from './native-server.ts'

const KAFKA_VERSION = '4.3.1'
const COMPLETE = 'complete'

/** Where the broker's jars are kept: a cache of the user, since wiping a stack's data must not cost a download. */
export function kafkaJarFolder(): string {
  const cache = process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache')
  return join(cache, 'tokenmeter', `kafka-${KAFKA_VERSION}`)
}

export function hasKafkaJars(): boolean {
  return existsSync(join(kafkaJarFolder(), COMPLETE))
}

/**
 * Has Maven fetch the broker (92 jars, 54 MB) unless that was done before. The folder takes its name last, so an
 * interrupted download is never taken for a whole one.
 */
export async function ensureKafkaJars(onProgress: (line: string) => void): Promise<string> {
  const folder = kafkaJarFolder()
  if (hasKafkaJars()) return folder
  onProgress(`kafka: fetching Apache Kafka ${KAFKA_VERSION} with Maven, once (54 MB)`)
  const draft = `${folder}.${process.pid}`
  mkdirSync(dirname(folder), { recursive: true })
  try {
    await runMaven(draft)
    writeFileSync(join(draft, COMPLETE), '')
    rmSync(folder, { recursive: true, force: true })
    renameSync(draft, folder)
  } finally {
    rmSync(draft, { recursive: true, force: true })
  }
  return folder
}

async function runMaven(outputFolder: string): Promise<void> {
  const pom = join(projectFolder(), 'stack', 'kafka', 'pom.xml')
  const goal = ['dependency:copy-dependencies', '-DincludeScope=runtime', `-DoutputDirectory=${outputFolder}`]
  const maven = spawn(findProgram('mvn'), ['-q', '-B', '-f', pom, ...goal], { stdio: ['ignore', 2, 2] })
  await new Promise<void>((resolve, reject) => {
    maven.once('error', reject)
    maven.once('exit', (code) => {
      if (code === 0) resolve()
      else reject(new Error(`Maven ended with ${code} while it fetched Kafka; its output is above. Run again to retry`))
    })
  })
}
