/**
 * Defects that the simulation must find: each leaves out one rule of the metering protocol, by replacing an exact fragment of a
 * source file while it is loaded. So the product has no switches, and a fragment that is no longer there is an error here.
 */
import fs from 'node:fs'
import { registerHooks, syncBuiltinESMExports } from 'node:module'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

export interface Edit {
  /** From the project's root. */
  readonly file: string
  /** Stands exactly once in the file. */
  readonly find: string
  readonly replace: string
}

export interface Defect {
  readonly name: string
  readonly leavesOut: string
  readonly edits: readonly Edit[]
}

const ROOT = join(import.meta.dirname, '..', '..')

export const DEFECTS: readonly Defect[] = [
  {
    name: 'no-cas',
    leavesOut: 'the compare-and-set of the cursor in Redis',
    edits: [
      {
        file: 'meter/scripts/apply-batch.lua',
        find: `if (stand[1] or '0') ~= ARGV[4] then return { 'refused', 'cursor' } end`,
        replace: ''
      }
    ]
  },
  {
    name: 'no-ledger-cas',
    leavesOut: 'the compare-and-set of the cursor in the ledger',
    edits: [
      {
        file: 'test/simulate/ledger-model.ts',
        find: `return cursor === position.cursor && generations.join() === position.generations.join()`,
        replace: 'return cursor >= 0 && generations.join() === position.generations.join()'
      }
    ]
  },
  {
    name: 'no-run-id',
    leavesOut: "the check that the state was written by this run of the server's process",
    edits: [{ file: 'meter/scripts/prelude.lua', find: 'now[3] ~= run_id() or ', replace: '' }]
  },
  {
    name: 'no-roll-forward',
    leavesOut: 'counting again what the ledger has and Redis lost',
    edits: [
      {
        file: 'ingest/repair-shard.ts',
        find: 'await rollForward(repair, begun.cursors)',
        replace: 'rollForward !== undefined'
      }
    ]
  },
  {
    name: 'marks-all',
    leavesOut: 'the uncounted offsets when marks are built from the log',
    edits: [
      {
        file: 'ingest/repair-shard.ts',
        find: `if (uncounted.has(record.offset)) continue
        const decoded = ports.decode(record)
        if ('rejection' in decoded)`,
        replace: `const decoded = ports.decode(record)
        if ('rejection' in decoded && uncounted.has(record.offset)) continue
        if ('rejection' in decoded)`
      }
    ]
  },
  {
    name: 'late-cut',
    leavesOut: 'settling a cut at which a consumer begins, and cutting again when the moment was missed',
    edits: [
      {
        file: 'ingest/meter-partition.ts',
        find: `if (!(await this.#settleReached())) return 'refused'
    for (;;) {`,
        replace: 'for (;;) {'
      },
      {
        file: 'ingest/ledger/settle-cuts.ts',
        find: 'if ((position.shardCursors[cut.shard] ?? 0) > cut.at) {',
        replace: 'if (cut.at < 0) {'
      }
    ]
  },
  {
    name: 'no-trim',
    leavesOut: "cutting batches at Redis's cursor",
    edits: [{ file: 'ingest/meter-partition.ts', find: '...this.#shards.map(({ cursor }) => cursor), ', replace: '' }]
  },
  {
    name: 'mark-before-write',
    leavesOut: 'moving the cursor and writing the sums in one transaction',
    edits: [
      {
        file: 'test/simulate/ledger-model.ts',
        find: `process.call(\`flush \${flush.partition} \${flush.from.cursor}-\${flush.to.cursor}\`, () => {
        const outcome = postgres.flush(flush)`,
        replace: `process.call(\`mark \${flush.partition} \${flush.from.cursor}-\${flush.to.cursor}\`, () => postgres.flush({ ...flush, rows: [] })).then((marked) => marked === 'fenced' ? marked : process.call('write', () => {
        const outcome = postgres.flush({ ...flush, from: flush.to, uncounted: [] })`
      },
      {
        file: 'test/simulate/ledger-model.ts',
        find: `        if (outcome === 'fenced') process.world.tell(\`\${process.name}: fenced\`)
        return outcome
      }),`,
        replace: `        return outcome
      })),`
      }
    ]
  },
  {
    name: 'judge-again',
    leavesOut: 'the record of verdicts: a replay asks the marks, which know every event by now',
    edits: [
      {
        file: 'ingest/meter-partition.ts',
        find: `stand.verdicts.get(offset) ?? 'counted'`,
        replace: `stand.verdicts.get(offset) ?? 'duplicate'`
      }
    ]
  },
  {
    name: 'no-record',
    leavesOut: 'keeping the verdicts other than counted until the ledger has passed them',
    edits: [
      {
        file: 'meter/scripts/apply-batch.lua',
        find: `redis.call('HSET', verdicts, new_verdicts[i], new_verdicts[i + 1])`,
        replace: ''
      }
    ]
  },
  {
    name: 'flip-early',
    leavesOut: 'opening a shard only when it is built',
    edits: [
      {
        file: 'ingest/repair-shard.ts',
        find: `  const repair = { shard, generation, ledgerCursors, ports }`,
        replace: `  if (begun.cursors === null && (await ports.meter.finish(shard, generation, ledgerCursors))) return 'repaired'
  const repair = { shard, generation, ledgerCursors, ports }`
      }
    ]
  },
  {
    name: 'no-dirty',
    leavesOut: 'building anew what a script left half-written',
    edits: [{ file: 'meter/scripts/repair/begin-repair.lua', find: `or half_written(state[3]) `, replace: '' }]
  },
  {
    name: 'dead-letter-late',
    leavesOut: 'the dead letter before the cursor passes a conflict',
    edits: [
      {
        file: 'ingest/meter-partition.ts',
        find: `await this.#ports.deadLetters.append(letters)`,
        replace: 'void this.#ports.deadLetters.append(letters)'
      }
    ]
  }
]

/** Throws when a fragment does not stand exactly once where the defect says, or the defect is not known. */
export function plantDefect(name: string, defects: readonly Defect[] = DEFECTS): void {
  const defect = defects.find((one) => one.name === name)
  if (defect === undefined) throw new Error(`no defect ${name}; there are ${defects.map((one) => one.name).join(', ')}`)
  const sources = new Map<string, string>()
  for (const edit of defect.edits) {
    const path = join(ROOT, edit.file)
    sources.set(path, edited(sources.get(path) ?? fs.readFileSync(path, 'utf8'), edit))
  }
  registerHooks({
    load(url, context, nextLoad) {
      const source = url.startsWith('file:') ? sources.get(fileURLToPath(url)) : undefined
      if (source === undefined) return nextLoad(url, context)
      return { format: 'module-typescript', source, shortCircuit: true }
    }
  })
  readInstead(sources)
}

function edited(source: string, { file, find, replace }: Edit): string {
  const [before, after, ...more] = source.split(find)
  if (before === undefined || after === undefined || more.length > 0)
    throw new Error(`${file} does not hold exactly once: ${find}`)
  return before + replace + after
}

/** Scripts are read, not imported. */
function readInstead(sources: ReadonlyMap<string, string>): void {
  const read = fs.readFileSync
  fs.readFileSync = new Proxy(read, {
    apply(target, self, args: Parameters<typeof read>) {
      const [path] = args
      const source = path instanceof URL ? sources.get(fileURLToPath(path)) : undefined
      return source ?? Reflect.apply(target, self, args)
    }
  })
  syncBuiltinESMExports()
}
