/**
 * The shards of one installation: which keys are in force in each. The build in force is remembered; a script that was given
 * the keys of another one refuses and names the right one.
 */
import { shardOf } from '../domain/tokens/shard.ts'
import { answerOf } from './connect.ts'
import { ShardKeys } from './keys.ts'
import { type MeterRedis, runScript, type ScriptName } from './scripts.ts'

export interface MeterInstallation {
  /** Keeps installations that share a Redis apart. */
  readonly keyPrefix: string
  /** Fixed at install; a divisor of the number of partitions of the usage topic. */
  readonly shards: number
  /** Marks are spread over so many hashes a generation and shard; small while each holds at most some hundred. */
  readonly markBuckets: number
  /** How long (ms of arrival) a generation of marks lasts: the duplicate window and the lead an event may have. */
  readonly markGenerationMs: number
  /** How far (ms) ahead of its arrival an event's time may lie. */
  readonly leadMs: number
}

/** The variables of the configuration that describe an installation. */
export interface MeterVariables {
  readonly METER_KEY_PREFIX: string
  readonly METER_SHARDS: number
  readonly METER_MARK_BUCKETS: number
  readonly DUPLICATE_WINDOW_MS: number
}

/** An event may claim a time `leadMs` ahead of its arrival, so a copy may be accepted for that much longer than the window. */
export function installationOf(config: MeterVariables, leadMs: number): MeterInstallation {
  return {
    keyPrefix: config.METER_KEY_PREFIX,
    shards: config.METER_SHARDS,
    markBuckets: config.METER_MARK_BUCKETS,
    markGenerationMs: config.DUPLICATE_WINDOW_MS + leadMs,
    leadMs
  }
}

type ScriptCall = (
  keys: ShardKeys,
  build: string
) => { keys: readonly string[]; args: readonly (string | number | Buffer)[] }

export class Shards {
  readonly redis: MeterRedis
  readonly installation: MeterInstallation
  readonly #builds = new Map<number, string>()

  constructor(redis: MeterRedis, installation: MeterInstallation) {
    this.redis = redis
    this.installation = installation
  }

  of(customerId: string): number {
    return shardOf(customerId, this.installation.shards)
  }

  keys(shard: number, build: string): ShardKeys {
    return new ShardKeys(this.installation.keyPrefix, shard, build)
  }

  /** Runs a script of a shard with the keys of the build in force; when the build has changed, once more with the new ones. */
  async run(shard: number, name: ScriptName, call: ScriptCall): Promise<readonly unknown[]> {
    const build = this.#builds.get(shard) ?? (await this.refresh(shard))
    const reply = await this.runBuild(shard, build, { name, call })
    const inForce = reply[0] === 'refused' ? /^build:(.*)$/.exec(String(reply[1]))?.[1] : undefined
    if (inForce === undefined) return reply
    this.#builds.set(shard, inForce)
    return this.runBuild(shard, inForce, { name, call })
  }

  async runBuild(
    shard: number,
    build: string,
    script: { name: ScriptName; call: ScriptCall }
  ): Promise<readonly unknown[]> {
    return answerOf(this.redis, runScript(this.redis, script.name, script.call(this.keys(shard, build), build)))
  }

  /** Reads which build is in force; empty when the shard has no state. */
  async refresh(shard: number): Promise<string> {
    const build = (await answerOf(this.redis, this.redis.hget(this.keys(shard, '').state, 'build'))) ?? ''
    if (build === '') this.#builds.delete(shard)
    else this.#builds.set(shard, build)
    return build
  }
}
