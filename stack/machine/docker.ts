import { spawnSync } from 'node:child_process'
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
export async function startWithDocker(): Promise<ServicePorts> {
  const ports: ServicePorts = {
    kafka: await findFreePort(),
    redis: await findFreePort(),
    postgres: await findFreePort(),
    clickhouse: await findFreePort()
  }
  compose(['up', '-d', '--wait', ...SERVICES], ports)
  return ports
}

export function stopWithDocker(ports: ServicePorts, wipe: boolean): void {
  compose(['down', ...(wipe ? ['--volumes'] : [])], ports)
}

/** Whether all four services that an earlier run started are still up. */
export function isRunningInDocker(): boolean {
  const running = listRunningInDocker()
  return SERVICES.every((service) => running.includes(service))
}

export function listRunningInDocker(): string[] {
  const { stdout } = spawnSync('docker', ['compose', 'ps', '--services', '--status', 'running'], {
    cwd: projectFolder(),
    encoding: 'utf8'
  })
  return stdout.split('\n').filter((name) => name !== '')
}

function compose(args: readonly string[], ports: ServicePorts): void {
  const env = {
    ...process.env,
    KAFKA_PORT: String(ports.kafka),
    REDIS_PORT: String(ports.redis),
    POSTGRES_PORT: String(ports.postgres),
    CLICKHOUSE_PORT: String(ports.clickhouse)
  }
  const { status } = spawnSync('docker', ['compose', ...args], { cwd: projectFolder(), stdio: ['ignore', 2, 2], env })
  if (status !== 0) throw new Error(`docker compose ${args.join(' ')} ended with ${status}; its output is above`)
}
