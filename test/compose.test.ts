/** docker-compose.yml read as data: what can be known of it without a Docker engine. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { parse } from 'yaml'

interface Service {
  image?: string
  user?: string
  read_only?: boolean
  command?: string[]
  environment?: Record<string, string | number>
  depends_on?: Record<string, { condition: string }>
  healthcheck?: { test?: string[]; interval?: string; timeout?: string; retries?: number }
  volumes?: string[]
  ports?: string[]
}

const root = join(import.meta.dirname, '..')
const text = readFileSync(join(root, 'docker-compose.yml'), 'utf8')
const compose: { services: Record<string, Service>; volumes: Record<string, unknown> } = parse(text, { merge: true })
const services = Object.entries(compose.services)
const ours = services.filter(([, { image }]) => image?.startsWith('tokenmeter:'))
const documented = new Set(
  [...readFileSync(join(root, '.env.example'), 'utf8').matchAll(/^#? ?([A-Z][A-Z0-9_]*)=/gm)].map(([, name]) => name)
)

t.test('the services are those of the architecture, and three processes are ours', async (t) => {
  t.same(Object.keys(compose.services).sort(), [
    'analytics-consumer',
    'clickhouse',
    'customer-service',
    'kafka',
    'meter-consumer',
    'postgres',
    'redis'
  ])
  t.same(ours.map(([name]) => name).sort(), ['analytics-consumer', 'customer-service', 'meter-consumer'])
})

for (const [name, service] of services) {
  t.test(`${name} is pinned, watched, and not root`, async (t) => {
    t.match(service.image, /:\d+\.\d+\.?\d*[\w.-]*$/, 'its image names an exact version')
    t.ok(service.user !== undefined && !/^(root|0)\b/.test(service.user), 'it has a user of its own')
    const { test, interval, timeout, retries } = service.healthcheck ?? {}
    t.ok(test !== undefined && test.length > 1, 'it has a health check')
    t.ok(interval && timeout && retries, 'which has an interval, a time-out and a number of retries')
  })
}

for (const [name, service] of ours) {
  t.test(`${name} starts after healthy services, on a file system it can't write`, async (t) => {
    t.equal(service.read_only, true)
    for (const store of ['kafka', 'redis', 'postgres', 'clickhouse']) {
      t.equal(service.depends_on?.[store]?.condition, 'service_healthy', store)
    }
    const [program, entry = ''] = service.command ?? []
    t.equal(program, 'node')
    t.ok(readFileSync(join(root, entry), 'utf8').length > 0, `${entry} exists`)
  })

  t.test(`.env.example documents every variable given to ${name}`, async (t) => {
    const variables = Object.keys(service.environment ?? {})
    t.ok(variables.includes('KAFKA_BROKERS'))
    t.same(
      variables.filter((variable) => !documented.has(variable)),
      []
    )
  })
}

t.test('.env.example documents every variable that the file takes from outside', async (t) => {
  const variables = [...text.matchAll(/\$\{([A-Z][A-Z0-9_]*)/g)].map(([, variable]) => variable)
  t.ok(variables.length > 0)
  t.same(
    variables.filter((variable) => !documented.has(variable)),
    []
  )
})

t.test('data lies in named volumes, each of them declared and used', async (t) => {
  const used = services.flatMap(([, { volumes = [] }]) => volumes.map((volume) => volume.split(':')[0]))
  t.same(used.sort(), Object.keys(compose.volumes).sort())
})

t.test('no port is open to other machines', async (t) => {
  const ports = services.flatMap(([, service]) => service.ports ?? [])
  t.ok(ports.length > 0)
  for (const port of ports) t.match(port, /^127\.0\.0\.1:/)
})

t.test('the image of our processes is pinned and runs them as a user of no rights', async (t) => {
  const dockerfile = readFileSync(join(root, 'Dockerfile'), 'utf8')
  const bases = [...dockerfile.matchAll(/^FROM (\S+)/gm)].map(([, base]) => base)
  t.ok(bases.length > 1, 'it is built in stages')
  for (const base of bases) t.match(base, /^node:24\.\d+\.\d+-bookworm-slim$/)
  t.match(dockerfile, /^USER node$/m)
  t.match(dockerfile, /^HEALTHCHECK /m)
  t.match(dockerfile, /npm ci --omit=dev/)
})
