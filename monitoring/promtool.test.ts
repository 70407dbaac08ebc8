/** What Prometheus itself says of our metrics and alerts, and whether alerts and dashboard speak of metrics that exist. */
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import t from 'tap'
import { parse } from 'yaml'
import { findProgram } from '../stack/machine/find-program.ts'
import { waitUntil } from '../stack/machine/wait-until.ts'
import { type ProgramRun, runProgram } from '../test/e2e/run-program.ts'
import {
  countInFlight,
  countTokens,
  createApiMetrics,
  createIngestMetrics,
  createRegistry,
  setActiveUsers
} from './metrics.ts'
import { movedRegistries } from './moved-registries.ts'
import { observePools } from './observe-pools.ts'

interface Alert {
  readonly alert: string
  readonly expr: string
  readonly for: string
  readonly labels: { readonly severity: string }
  readonly annotations: { readonly summary: string; readonly runbook: string }
}

interface Panel {
  readonly id: number
  readonly type: string
  readonly title: string
  readonly description?: string
  readonly gridPos: { readonly x: number; readonly y: number; readonly w: number; readonly h: number }
  readonly datasource?: { readonly uid: string }
  readonly targets?: readonly { readonly expr: string }[]
}

/** None of them is an id of a customer, user, model or event: each has a few values that the code or the installation fixes. */
const LABELS_OF_OURS = [
  'kind',
  'le',
  'method',
  'mode',
  'outcome',
  'partition',
  'pool',
  'process',
  'reason',
  'route',
  'state',
  'status',
  'store',
  'type',
  'window'
]
const OF_NODE = /^tokenmeter_(nodejs|process)_/
const LABELS_OF_NODE = ['kind', 'le', 'major', 'minor', 'patch', 'process', 'space', 'type', 'version']

const FOLDER = join(import.meta.dirname, 'prometheus')
const read = (path: string): string => readFileSync(join(import.meta.dirname, path), 'utf8')
const rules: { groups: { rules: Alert[] }[] } = parse(read('prometheus/alerts.yml'))
const alerts = rules.groups.flatMap((group) => group.rules)
const dashboard: { uid: string; panels: Panel[] } = JSON.parse(read('grafana/dashboards/tokenmeter.json'))
const queries = dashboard.panels.flatMap(({ targets = [] }) => targets.map(({ expr }) => expr))

function promtool(args: readonly string[], input = ''): Promise<ProgramRun> {
  return runProgram(findProgram('promtool'), args, { input })
}

t.test('promtool has nothing to say against the metrics of any process', async (t) => {
  for (const registry of movedRegistries()) {
    const text = await registry.metrics()
    t.same(await promtool(['check', 'metrics'], text), { exitCode: 0, stdout: '', stderr: '' })
  }
})

t.test('promtool would say so', async (t) => {
  const { exitCode, stderr } = await promtool(['check', 'metrics'], '# TYPE a_total gauge\na_total 1\n')
  t.not(exitCode, 0)
  t.match(stderr, /a_total no help text/)
})

t.test('no label is without bounds: neither customer, user nor model is one', async (t) => {
  for (const registry of movedRegistries()) {
    for (const { name, values } of await registry.getMetricsAsJSON()) {
      const allowed = OF_NODE.test(name) ? LABELS_OF_NODE : LABELS_OF_OURS
      const labels = values.flatMap((value) => Object.keys(value.labels))
      t.same(
        labels.filter((label) => !allowed.includes(label)),
        [],
        name
      )
    }
  }
})

t.test('every metric of ours has moved, so that its labels have been seen', async (t) => {
  for (const registry of movedRegistries()) {
    for (const { name, values } of await registry.getMetricsAsJSON()) {
      if (!OF_NODE.test(name))
        t.ok(
          values.some(({ value }) => Number(value) > 0),
          name
        )
    }
  }
})

t.test('a counter tells each of its values from the start, so that its first step is one', async (t) => {
  const registry = createRegistry('test')
  createIngestMetrics(registry)
  createApiMetrics(registry)
  const text = await registry.metrics()
  t.match(text, /^tokenmeter_repairs_total\{mode="build",process="test"\} 0$/m)
  t.match(text, /^tokenmeter_fenced_total\{store="clickhouse",process="test"\} 0$/m)
  t.match(text, /^tokenmeter_events_rejected_total\{reason="too-early",process="test"\} 0$/m)
  t.match(text, /^tokenmeter_checks_total\{outcome="unknown",process="test"\} 0$/m)
  t.match(text, /^tokenmeter_holds_total\{outcome="again",process="test"\} 0$/m)
  t.match(text, /^tokenmeter_tokens_total\{kind="voided",pool="cacheRead",process="test"\} 0$/m)
})

t.test('tokens that a correction takes back are counted apart, upwards', async (t) => {
  const registry = createRegistry('test')
  const metrics = createIngestMetrics(registry)
  const used = { input: 7, cacheRead: 0, cacheWrite: 0, output: 2, reasoning: 0 }
  countTokens(metrics, { used, voided: { ...used, input: -7, output: -2 } })
  countTokens(metrics, { used, voided: { ...used, input: 0, output: 0 } })
  const text = await registry.metrics()
  t.match(text, /^tokenmeter_tokens_total\{kind="used",pool="input",process="test"\} 14$/m)
  t.match(text, /^tokenmeter_tokens_total\{kind="voided",pool="output",process="test"\} 2$/m)
})

t.test('a pool is read when metrics are asked for', async (t) => {
  const registry = createRegistry('test')
  let pool = { open: 0, idle: 0, waiting: 0, max: 4 }
  observePools(registry, { entities: () => pool })
  t.match(
    await registry.metrics(),
    /^tokenmeter_postgres_connections\{pool="entities",state="busy",process="test"\} 0$/m
  )
  pool = { open: 4, idle: 1, waiting: 5, max: 4 }
  const text = await registry.metrics()
  t.match(text, /^tokenmeter_postgres_connections\{pool="entities",state="busy",process="test"\} 3$/m)
  t.match(text, /^tokenmeter_postgres_connections\{pool="entities",state="idle",process="test"\} 1$/m)
  t.match(text, /^tokenmeter_postgres_waiting\{pool="entities",process="test"\} 5$/m)
  t.match(text, /^tokenmeter_postgres_connections_max\{pool="entities",process="test"\} 4$/m)
})

t.test('a request is in flight until it is answered or its caller has gone', async (t) => {
  const metrics = createApiMetrics(createRegistry('test'))
  const inFlight = async (): Promise<number> => (await metrics.requestsInFlight.get()).values[0]?.value ?? -1
  const server = createServer((request, response) => {
    countInFlight(metrics, response)
    if (request.url === '/answered') response.end()
  })
  await once(server.listen(0, '127.0.0.1'), 'listening')
  t.teardown(() => server.close())
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  await (await fetch(`${url}/answered`)).text()
  await waitUntil(async () => (await inFlight()) === 0, { what: 'the answer', timeoutMs: 5_000 })
  const caller = new AbortController()
  const left = t.rejects(fetch(`${url}/never`, { signal: caller.signal }))
  await waitUntil(async () => (await inFlight()) === 1, { what: 'the request', timeoutMs: 5_000 })
  caller.abort()
  await left
  await waitUntil(async () => (await inFlight()) === 0, { what: 'the caller to be missed', timeoutMs: 5_000 })
})

t.test('active users that can not be counted are not told at all', async (t) => {
  const metrics = createApiMetrics(createRegistry('test'))
  setActiveUsers(metrics, { '15m': 3, '1d': 9 })
  t.match((await metrics.usersActive.get()).values, [
    { labels: { window: '15m' }, value: 3 },
    { labels: { window: '1d' }, value: 9 }
  ])
  setActiveUsers(metrics, null)
  t.same((await metrics.usersActive.get()).values, [])
})

t.test('promtool takes the configuration and the alerts, and each story of them ends as told', async (t) => {
  for (const args of [
    ['check', 'config', join(FOLDER, 'prometheus.yml')],
    ['check', 'rules', join(FOLDER, 'alerts.yml')],
    ['test', 'rules', join(FOLDER, 'alerts.test.yml'), join(FOLDER, 'alerts-of-days.test.yml')]
  ]) {
    const { exitCode, stdout, stderr } = await promtool(args)
    t.equal(exitCode, 0, args.join(' '), { stdout, stderr })
  }
})

t.test('each alert says how bad it is, what is the matter, and where to read what to do', async (t) => {
  const sections = new Set(
    [...read('../docs/operations.md').matchAll(/^#+ (.+)$/gm)].map(([, title = '']) => anchorOf(title))
  )
  t.ok(alerts.length > 0)
  for (const { alert, labels, annotations, ...rest } of alerts) {
    t.match(rest, { expr: /\S/, for: /^\d+[smh]$/ }, alert)
    t.match(labels.severity, /^(critical|warning|info)$/, alert)
    t.match(annotations.summary, /\.$/, alert)
    const [document, section = ''] = annotations.runbook.split('#')
    t.equal(document, 'docs/operations.md', alert)
    t.ok(sections.has(section), `${alert}: there is a section ${section}`)
  }
  t.equal(new Set(alerts.map(({ alert }) => alert)).size, alerts.length, 'no two have one name')
})

t.test('docs/operations.md names every alert under its severity, and every metric of ours', async (t) => {
  const operations = read('../docs/operations.md')
  for (const severity of ['critical', 'warning', 'info']) {
    const row = new RegExp(`^\\| ${severity} \\|.*$`, 'm').exec(operations)?.[0] ?? ''
    t.same(
      [...row.matchAll(/`(\w+)`/g)].map(([, name]) => `Tokenmeter${name}`).sort(),
      alerts
        .filter(({ labels }) => labels.severity === severity)
        .map(({ alert }) => alert)
        .sort()
    )
  }
  const described = new Set([...operations.matchAll(/`(\w+)(?:\{[\w,]+\})?`/g)].map(([, name]) => `tokenmeter_${name}`))
  for (const registry of movedRegistries()) {
    const names = (await registry.getMetricsAsJSON()).map(({ name }) => name)
    t.same(
      names.filter((name) => !OF_NODE.test(name) && !described.has(name)),
      []
    )
  }
})

t.test('alerts and dashboard ask for metrics that exist', async (t) => {
  const known = new Set((await Promise.all(movedRegistries().map(namesOf))).flat())
  const asked = [...alerts.map(({ expr }) => expr), ...queries].flatMap((expr) => expr.match(/\btokenmeter_\w+/g) ?? [])
  t.ok(asked.length > alerts.length)
  t.same(
    asked.filter((name) => !known.has(name)),
    []
  )
})

t.test('Prometheus can read every query of the dashboard', async (t) => {
  // promtool checks rules, not bare expressions. Grafana fills in the interval.
  const records = queries.map((expr, i) => ({
    record: `dashboard:${i}`,
    expr: expr.replaceAll('$__rate_interval', '1m')
  }))
  const folder = t.testdir({ 'queries.json': JSON.stringify({ groups: [{ name: 'dashboard', rules: records }] }) })
  const { exitCode, stdout, stderr } = await promtool(['check', 'rules', join(folder, 'queries.json')])
  t.equal(exitCode, 0, 'they parse', { stdout, stderr })
})

t.test(
  'each panel of the dashboard has an id and a place of its own, says what it shows, and asks Prometheus',
  async (t) => {
    const { panels } = dashboard
    t.equal(new Set(panels.map(({ id }) => id)).size, panels.length)
    const cells = panels.flatMap(({ gridPos: { x, y, w, h } }) =>
      Array.from({ length: w * h }, (_, i) => `${x + (i % w)},${y + Math.floor(i / w)}`)
    )
    t.equal(new Set(cells).size, cells.length, 'none lies on another')
    t.same(
      panels.filter(({ type }) => type === 'row').map(({ title }) => title),
      ['Token use', 'Quota checks and holds', 'Pipeline', 'API', 'Billing', 'Processes']
    )
    for (const { type, title, description, datasource, targets = [] } of panels) {
      if (type === 'row') continue
      t.ok(description, title)
      t.equal(datasource?.uid, 'prometheus', title)
      t.ok(targets.length > 0, title)
    }
  }
)

/** The names under which Prometheus keeps what a registry tells: a histogram is three. */
async function namesOf(registry: ReturnType<typeof createRegistry>): Promise<string[]> {
  const metrics = await registry.getMetricsAsJSON()
  return metrics.flatMap(({ name, type }) =>
    String(type) === 'histogram' ? ['bucket', 'sum', 'count'].map((part) => `${name}_${part}`) : [name]
  )
}

/** As the pages of a repository make it of a heading. */
function anchorOf(title: string): string {
  return title
    .toLowerCase()
    .replaceAll(/[^\w\- ]/g, '')
    .replaceAll(' ', '-')
}
