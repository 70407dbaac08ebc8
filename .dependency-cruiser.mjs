// Who may import whom, as docs/ARCHITECTURE.md states it. `npm run borders` reports breaches, and
// test/borders.test.ts plants one breach per rule and expects it to be found.
// Type-only imports count like any other (`tsPreCompilationDeps`).

/** Entries wire folders together; tests may look anywhere. Both are free of the folder borders, not of cycles. */
const TESTS = String.raw`\.test\.ts$`
const ENTRIES = String.raw`(^|/)main\.ts$|-command\.ts$`
const SCAFFOLDING = '^(stack|bench|test)/'

/** Matches a package wherever it resolves to, found or not, and its `@types`. */
const packages = (pattern) => `(^|node_modules/)(@types/)?(${pattern})(/|$)`

/** Node's own modules through which the inside of the hexagon could reach the outside. */
const INPUT_OUTPUT =
  '^(node:)?(child_process|cluster|dgram|dns|fs|http|http2|https|net|process|readline|tls|worker_threads)(/|$)'

function forbid(name, why, { from, to }) {
  return { name, comment: why, severity: 'error', from, to }
}

/** A driver has one home. A main.ts is no exception: it asks the driver's folder to connect. */
function driverLivesIn(home, pattern) {
  return forbid(`${home}-is-the-one-home-of-its-driver`, `only ${home}/ imports ${pattern}`, {
    from: { pathNot: `^${home}/|${SCAFFOLDING}|${TESTS}` },
    to: { path: packages(pattern) }
  })
}

export default {
  forbidden: [
    forbid('domain-imports-only-domain', 'domain/ is pure: itself and node:, nothing else', {
      from: { path: '^domain/(?!(tokens|subscriptions)/)', pathNot: TESTS },
      to: { pathNot: '^domain/', dependencyTypesNot: ['core'] }
    }),
    forbid('domain-tokens-imports-only-domain', 'as domain/, with temporal-polyfill for days in a time zone', {
      from: { path: '^domain/(tokens|subscriptions)/', pathNot: TESTS },
      to: { pathNot: `^domain/|${packages('temporal-polyfill')}`, dependencyTypesNot: ['core'] }
    }),
    forbid('domain-does-no-input-or-output', 'the rules read no file, no socket and no process', {
      from: { path: '^domain/', pathNot: TESTS },
      to: { path: INPUT_OUTPUT }
    }),
    forbid(
      'adapters-import-only-domain',
      'meter/, sql/, clickhouse/ and payments/ know neither each other nor a process',
      {
        from: { path: '^(meter|sql|clickhouse|payments)/', pathNot: `${TESTS}|${ENTRIES}` },
        to: { dependencyTypes: ['local'], pathNot: `^(domain|$1)/|${SCAFFOLDING}` }
      }
    ),
    forbid(
      'processes-import-no-adapter-and-no-process',
      'ingest/, api/ and billing-job/ see ports; their main.ts wires',
      {
        from: { path: '^(ingest|api|billing-job)/', pathNot: `${TESTS}|${ENTRIES}` },
        to: { dependencyTypes: ['local'], pathNot: `^(domain|monitoring|$1)/|${SCAFFOLDING}` }
      }
    ),
    forbid('monitoring-imports-only-domain', 'a process imports monitoring/, so it must not lead on to an adapter', {
      from: { path: '^monitoring/', pathNot: `${TESTS}|${ENTRIES}` },
      to: { dependencyTypes: ['local'], pathNot: `^(domain|monitoring)/|${SCAFFOLDING}` }
    }),
    forbid('nothing-imports-an-entry', 'an entry imports everything: whoever imports it does as well', {
      from: { pathNot: `${SCAFFOLDING}|${TESTS}|${ENTRIES}` },
      to: { path: ENTRIES, dependencyTypes: ['local'] }
    }),
    forbid('nothing-imports-scaffolding', 'stack/, bench/ and test/ may import anything; nothing imports them', {
      from: { pathNot: `${SCAFFOLDING}|${TESTS}` },
      to: { path: SCAFFOLDING }
    }),
    forbid('nothing-imports-a-test', 'what two tests share is no test', {
      from: {},
      to: { path: TESTS }
    }),
    driverLivesIn('meter', 'ioredis'),
    driverLivesIn('ingest', 'kafkajs'),
    driverLivesIn('clickhouse', '@clickhouse/[^/]+'),
    driverLivesIn('sql', 'slonik|@slonik/[^/]+|pg|pg-[^/]+|node-pg-migrate'),
    driverLivesIn('api', 'fastify|@fastify/[^/]+|pdfkit'),
    driverLivesIn('billing-job', 'bullmq'),
    driverLivesIn('payments', 'stripe'),
    forbid('services-run-without-development-packages', 'the image is installed with --omit=dev', {
      from: { pathNot: `${SCAFFOLDING}|${TESTS}` },
      to: { dependencyTypes: ['npm-dev'], dependencyTypesNot: ['type-only'] }
    }),
    forbid('imports-resolve', 'an import nobody can follow escapes every rule above', {
      from: {},
      to: { couldNotResolve: true }
    }),
    forbid('no-cycles', 'what needs each other belongs in one file; type-only cycles included', {
      from: {},
      to: { circular: true }
    })
  ],
  options: {
    tsPreCompilationDeps: true,
    doNotFollow: { path: 'node_modules' },
    exclude: { path: String.raw`(^|/)\.(stack|tap|git)/` },
    enhancedResolveOptions: {
      exportsFields: ['exports'],
      conditionNames: ['import', 'require', 'node', 'default', 'types'],
      extensions: ['.ts', '.mjs', '.js', '.json']
    }
  }
}
