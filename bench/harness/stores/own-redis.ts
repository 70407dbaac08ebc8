/** A Redis beside the stack's, where nobody else's keys are met or counted. It keeps nothing on disk. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { RedisServer } from '../../../stack/redis.ts'

export interface OwnRedis extends AsyncDisposable {
  readonly url: string
  readonly pid: number | null
}

/** Disposing of it ends the server and removes its folder. */
export async function startOwnRedis(): Promise<OwnRedis> {
  await using opened = new AsyncDisposableStack()
  const folder = mkdtempSync(join(tmpdir(), 'tokenmeter-bench-'))
  opened.defer(() => rmSync(folder, { recursive: true, force: true }))
  const server = new RedisServer({ folder, extraArguments: ['--appendonly', 'no'] })
  opened.defer(() => server.wipe())
  await server.start()
  const kept = opened.move()
  return { url: server.url, pid: server.pid, [Symbol.asyncDispose]: () => kept.disposeAsync() }
}
