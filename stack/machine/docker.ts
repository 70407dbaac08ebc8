import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { projectFolder } from './native-server.ts'
import { findFreePort } from './ports.ts'

const SERVICES = ['kafka', 'redis', 'postgres', 'clickhouse'] as const
const INFO_TIMEOUT_MS = 4_000

export type ServicePorts = Readonly<Record<(typeof SERVICES)[number], number>>

/** Whether a Docker engine, not merely its client, is there with the compose plugin. */
export function isDockerAvailable(): boolean {
  const options = { timeout: INFO_TIMEOUT_MS, stdio: 'ignore' } as const
  if (spawnSync('docker', ['info'], options).status !== 0) return false
  return spawnSync('docker', ['compose', 'version'], options).status === 0
}

/** Starts the services of docker-compose.yml and waits for their health checks. */
export async function startWithDocker(folder: string): Promise<ServicePorts> {
  const ports: ServicePorts = {
    kafka: await findFreePort(),
    redis: await findFreePort(),
    postgres: await findFreePort(),
    clickhouse: await findFreePort()
  }
  writeFileSync(portsFile(folder), JSON.stringify({ services: describePorts(ports) }, null, 2))
  compose(folder, ['up', '-d', '--wait', ...SERVICES])
  return ports
}

export function stopWithDocker(folder: string, wipe: boolean): void {
  compose(folder, ['down', ...(wipe ? ['--volumes'] : [])])
}

/** docker-compose.yml keeps the services to its own network; this second file, written in JSON, opens them to this host. */
function describePorts(ports: ServicePorts): Record<string, unknown> {
  const open = (port: number, inside: number): object => ({ ports: [`127.0.0.1:${port}:${inside}`] })
  return {
    kafka: {
      ...open(ports.kafka, 9094),
      environment: {
        KAFKA_LISTENERS: 'INSIDE://:9092,OUTSIDE://:9094,CONTROLLER://:9093',
        KAFKA_ADVERTISED_LISTENERS: `INSIDE://kafka:9092,OUTSIDE://127.0.0.1:${ports.kafka}`
      }
    },
    redis: open(ports.redis, 6379),
    postgres: open(ports.postgres, 5432),
    clickhouse: open(ports.clickhouse, 8123)
  }
}

function portsFile(folder: string): string {
  return join(folder, 'docker-ports.json')
}

/** Whether all four services that an earlier run started are still up. */
export function isRunningInDocker(folder: string): boolean {
  const running = listRunningInDocker(folder)
  return SERVICES.every((service) => running.includes(service))
}

export function listRunningInDocker(folder: string): string[] {
  const args = [...composeArguments(folder), 'ps', '--services', '--status', 'running']
  const { stdout } = spawnSync('docker', args, { cwd: projectFolder(), encoding: 'utf8' })
  return stdout.split('\n').filter((name) => name !== '')
}

function compose(folder: string, args: readonly string[]): void {
  const { status } = spawnSync('docker', [...composeArguments(folder), ...args], {
    cwd: projectFolder(),
    stdio: ['ignore', 2, 2]
  })
  if (status !== 0) throw new Error(`docker compose ${args.join(' ')} ended with ${status}; its output is above`)
}

/** A project of its own for each folder: what is wiped here is never what someone brought up by `docker compose up`. */
function composeArguments(folder: string): string[] {
  const mark = createHash('sha256').update(folder).digest('hex').slice(0, 8)
  return ['compose', '-p', `tokenmeter-${mark}`, '-f', 'docker-compose.yml', '-f', portsFile(folder)]
}
