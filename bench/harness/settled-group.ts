/**
 * Lets the members of a group share the partitions before any of them reads a record. A group of several settles a second or two after
 * its first member has begun, and with what that one did alone a run would tell less of several than of one. Opening a partition asks
 * the ledger where it stands: until that is answered nothing is read, so the ledger is locked meanwhile.
 */
import { Database } from '../../sql/connect.ts'
import { migrate } from '../../sql/migrate.ts'
import { waitUntil } from '../../stack/machine/wait-until.ts'
import { PARTITIONS } from './usage-topic.ts'

/** Beyond it the members' statements time out (10 s), and they would begin one after the other. */
const SETTLE_MAX_MS = 60_000

export class SettledGroup {
  readonly #partitions = new Map<string, readonly number[]>()
  readonly #release: () => Promise<void>

  private constructor(release: () => Promise<void>) {
    this.#release = release
  }

  /** Before the members are started. Migrates, so that there is a ledger to lock. */
  static async hold(databaseUrl: string): Promise<SettledGroup> {
    await migrate(databaseUrl, () => undefined)
    const database = new Database({
      databaseUrl,
      applicationName: 'tokenmeter-bench',
      connectionsMax: 1,
      role: 'login'
    })
    const session = await database.session('hold the ledger')
    await session.run({ text: 'begin' })
    await session.run({ text: 'lock table usage_partition in access exclusive mode' })
    return new SettledGroup(async () => {
      await session.close()
      await database.close()
    })
  }

  /** To be told of each line that a member writes. */
  hear(member: string, line: string): void {
    if (!line.includes('"partitions assigned"')) return
    const { partitions }: { partitions: readonly number[] } = JSON.parse(line)
    this.#partitions.set(member, partitions)
  }

  /** Lets them begin when each has partitions that no other has, and none is left over. */
  async begin(members: readonly string[]): Promise<void> {
    try {
      await waitUntil(async () => isShared(members.map((member) => this.#partitions.get(member) ?? [])), {
        what: `${members.join(', ')} to share the partitions`,
        timeoutMs: SETTLE_MAX_MS
      })
    } finally {
      await this.#release()
    }
  }
}

function isShared(parts: readonly (readonly number[])[]): boolean {
  const all = parts.flat()
  return parts.every(({ length }) => length > 0) && all.length === PARTITIONS && new Set(all).size === PARTITIONS
}
