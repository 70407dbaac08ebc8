/**
 * The meter's Lua scripts: one file each under scripts/, with prelude.lua put in front. ioredis gets them as commands and
 * sends their hash, not their text. A script that a server doesn't know is loaded by the same call.
 */
import { readFileSync } from 'node:fs'
import type { ClientContext, Cluster, Redis, Result } from 'ioredis'

type ScriptArgument = string | number | Buffer
type Script<Context extends ClientContext> = (
  numberOfKeys: number,
  ...keysAndArguments: ScriptArgument[]
) => Result<unknown, Context>

declare module 'ioredis' {
  interface RedisCommander<Context> {
    meterOpenPartition: Script<Context>
    meterApplyBatch: Script<Context>
    meterTick: Script<Context>
    meterSetLimits: Script<Context>
    meterSeedCut: Script<Context>
    meterCutAgain: Script<Context>
    meterCheck: Script<Context>
    meterHold: Script<Context>
    meterEndHold: Script<Context>
    meterBeginRepair: Script<Context>
    meterBuildShard: Script<Context>
    meterOutdatedLimits: Script<Context>
    meterFinishRepair: Script<Context>
    meterReadCounters: Script<Context>
  }
}

/** A connection to one Redis or to a Redis Cluster, made by `connectRedis` so that it knows the scripts. */
export type MeterRedis = Redis | Cluster

const FILES = {
  meterOpenPartition: 'open-partition',
  meterApplyBatch: 'apply-batch',
  meterTick: 'tick',
  meterSetLimits: 'set-limits',
  meterSeedCut: 'seed-cut',
  meterCutAgain: 'cut-again',
  meterCheck: 'check',
  meterHold: 'hold',
  meterEndHold: 'end-hold',
  meterBeginRepair: 'repair/begin-repair',
  meterBuildShard: 'repair/build-shard',
  meterOutdatedLimits: 'outdated-limits',
  meterFinishRepair: 'repair/finish-repair',
  meterReadCounters: 'read-counters'
} as const

export type ScriptName = keyof typeof FILES

const SHEBANG = '#!lua\n'

function read(file: string): string {
  const text = readFileSync(new URL(`scripts/${file}.lua`, import.meta.url), 'utf8')
  if (!text.startsWith(SHEBANG)) throw new Error(`meter/scripts/${file}.lua does not start with #!lua`)
  return text.slice(SHEBANG.length)
}

/** For the `scripts` option of ioredis. */
export function loadScripts(): Record<string, { lua: string }> {
  const prelude = read('prelude')
  return Object.fromEntries(
    Object.entries(FILES).map(([name, file]) => [name, { lua: `${SHEBANG}${prelude}${read(file)}` }])
  )
}

/** Runs a script and answers its reply as a list; every script answers a list that begins with a word. */
export async function runScript(
  redis: MeterRedis,
  name: ScriptName,
  call: { readonly keys: readonly string[]; readonly args: readonly ScriptArgument[] }
): Promise<readonly unknown[]> {
  const reply = await redis[name](call.keys.length, ...call.keys, ...call.args)
  if (!Array.isArray(reply) || typeof reply[0] !== 'string')
    throw new Error(`script ${FILES[name]} answered ${String(reply)}`)
  return reply
}
