/** docker-compose.yml as data, and as docker-compose reads it: what can be known of it without a Docker engine. */
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { parse } from 'yaml'
import { billingVariables, issuerVariables, paymentVariables } from '../monitoring/billing/config.ts'
import { findProgram } from '../stack/machine/find-program.ts'
import { runProgram } from './e2e/run-program.ts'

interface Service {
  image?: string
  build?: string
  profiles?: string[]
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

t.test('the services are those of the architecture, and four processes are ours', async (t) => {
  t.same(
    services
      .filter(([, { profiles }]) => profiles === undefined)
      .map(([name]) => name)
      .sort(),
    [
      'analytics-consumer',
      'billing-job',
      'clickhouse',
      'customer-service',
      'kafka',
      'meter-consumer',
      'postgres',
      'redis'
    ]
  )
  t.same(ours.map(([name]) => name).sort(), ['analytics-consumer', 'billing-job', 'customer-service', 'meter-consumer'])
})

for (const [name, service] of services) {
  t.test(`${name} is pinned, watched, and not root`, async (t) => {
    t.match(service.image, /:v?\d+\.\d+\.?\d*[\w.-]*$/, 'its image names an exact version')
    t.ok(service.user !== undefined && !/^(root|0)\b/.test(service.user), 'it has a user of its own')
    const { test, interval, timeout, retries } = service.healthcheck ?? {}
    t.ok(test !== undefined && test.length > 1, 'it has a health check')
    // An unquoted `? 0: 1` is a mapping to YAML: then no compose takes the file, and nothing at all starts.
    for (const word of test ?? []) t.type(word, 'string', 'which is a list of words')
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

t.test(
  'who bills and who finalizes are told the same of invoices and payment, and nobody is billed by surprise',
  async (t) => {
    const { 'billing-job': job, 'customer-service': api } = compose.services
    for (const variable of [
      ...Object.keys(billingVariables.properties),
      ...Object.keys(issuerVariables.properties),
      ...Object.keys(paymentVariables.properties)
    ]) {
      // Of the jobs' Redis this file knows more than who starts it.
      if (variable === 'BILLING_QUEUE_PREFIX') continue
      t.type(job?.environment?.[variable], 'string', variable)
      t.equal(api?.environment?.[variable], job?.environment?.[variable], variable)
    }
    t.match(job?.environment?.BILLING_AS_DRAFTS, /:-true}$/)
  }
)

t.test('data lies in named volumes, each of them declared and used', async (t) => {
  const used = services.flatMap(([, { volumes = [] }]) => volumes).filter((volume) => !volume.startsWith('./'))
  t.same(used.map((volume) => volume.split(':')[0]).sort(), Object.keys(compose.volumes).sort())
})

t.test('customer-service builds the image that all of our processes run', async (t) => {
  const { image, build } = compose.services['customer-service'] ?? {}
  t.match(image, /^tokenmeter:/)
  for (const [name, service] of ours) t.match(service, { image, build }, name)
  t.equal(build, '.', 'from the Dockerfile of this folder')
})

t.test('the profile monitoring is Prometheus and Grafana, which write nothing but their data', async (t) => {
  const monitoring = services.filter(([, { profiles }]) => profiles?.includes('monitoring'))
  t.same(monitoring.map(([name]) => name).sort(), ['grafana', 'prometheus'])
  for (const [name, { read_only, volumes = [] }] of monitoring) {
    t.equal(read_only, true, name)
    for (const volume of volumes.filter((path) => path.startsWith('./'))) t.match(volume, /:ro$/, volume)
  }
})

t.test('rules, data source and dashboards are mounted where they are looked for', async (t) => {
  const { prometheus, grafana } = compose.services
  t.same(hostPath(prometheus, '/etc/prometheus/prometheus.yml'), 'monitoring/prometheus/prometheus.yml')
  const { rule_files } = parseFile('monitoring/prometheus/prometheus.yml')
  t.same(rule_files, ['alerts.yml'])
  t.ok(hostPath(prometheus, '/etc/prometheus/alerts.yml'))
  const { datasources } = parseFile(hostPath(grafana, '/etc/grafana/provisioning/datasources/prometheus.yml'))
  t.match(datasources, [{ uid: 'prometheus', url: 'http://prometheus:9090' }])
  const { providers } = parseFile(hostPath(grafana, '/etc/grafana/provisioning/dashboards/tokenmeter.yml'))
  t.ok(hostPath(grafana, `${providers[0].options.path}/tokenmeter.json`))
  t.ok(hostPath(grafana, grafana?.environment?.GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH))
})

t.test('Prometheus scrapes each of our processes where it answers', async (t) => {
  const { scrape_configs: jobs } = parseFile('monitoring/prometheus/prometheus.yml')
  const targets: [string, number][] = jobs.flatMap(
    ({ dns_sd_configs }: { dns_sd_configs: { names: string[]; port: number }[] }) =>
      dns_sd_configs.flatMap(({ names, port }) => names.map((name) => [name, port]))
  )
  t.same(targets.map(([name]) => name).sort(), ours.map(([name]) => name).sort())
  for (const [name, port] of targets) {
    const { METRICS_PORT, API_PORT } = compose.services[name]?.environment ?? {}
    t.equal(port, METRICS_PORT ?? API_PORT, name)
  }
})

t.test("Debian's docker-compose takes the file with nothing set, and has nothing to remark", async (t) => {
  const folder = t.testdir({ 'docker-compose.yml': text })
  const environment = { PATH: process.env.PATH, HOME: folder }
  for (const profile of [[], ['--profile', 'monitoring']]) {
    const args = ['-f', join(folder, 'docker-compose.yml'), ...profile, 'config', '-q']
    t.same(await runProgram(findProgram('docker-compose'), args, { environment }), {
      exitCode: 0,
      stdout: '',
      stderr: ''
    })
  }
})

t.test('docker-compose refuses what it does not know', async (t) => {
  const folder = t.testdir({ 'docker-compose.yml': `name: tokenmeter\n${text}` })
  const { exitCode } = await runProgram(findProgram('docker-compose'), [
    '-f',
    join(folder, 'docker-compose.yml'),
    'config',
    '-q'
  ])
  t.not(exitCode, 0)
})

function parseFile(path: string) {
  return parse(readFileSync(join(root, path), 'utf8'))
}

/** Which file of ours stands at a path of a container; throws when none does. */
function hostPath(service: Service | undefined, path: string | number | undefined): string {
  for (const volume of service?.volumes ?? []) {
    const [from = '', to = ''] = volume.split(':')
    if (!from.startsWith('./') || !`${path}`.startsWith(`${to}/`)) continue
    const ours = join(from, `${path}`.slice(to.length))
    if (existsSync(join(root, ours))) return ours
  }
  throw new Error(`nothing of ours stands at ${path}`)
}

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
