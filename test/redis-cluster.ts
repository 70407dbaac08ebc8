// A Redis Cluster of three nodes on this machine, for tests: started with the test and removed after it.

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Redis } from 'ioredis'
import { findFreePort } from '../stack/machine/ports.ts'
import { waitUntil } from '../stack/machine/wait-until.ts'
import { RedisServer } from '../stack/redis.ts'

const SLOTS = 16_384
const CLUSTER_ARGUMENTS = ['--cluster-enabled', 'yes', '--cluster-node-timeout', '2000']
const READY_TIMEOUT_MS = 20_000

export interface RedisClusterForTest {
  readonly nodes: readonly RedisServer[]
  /** As `connectRedis` takes it. */
  readonly url: string
  /** Runs a command on one node. */
  onNode(node: number, command: string, ...args: (string | number)[]): Promise<unknown>
}

export async function startRedisCluster(t: {
  teardown(handler: () => Promise<void>): void
}): Promise<RedisClusterForTest> {
  const folder = mkdtempSync(join(tmpdir(), 'meter-cluster-'))
  // Ten thousand above its own port, where a node talks to the others by default, the system gives ports to connections.
  const busPorts = [await findFreePort(), await findFreePort(), await findFreePort()]
  const nodes = busPorts.map((busPort, i) => {
    const extraArguments = [...CLUSTER_ARGUMENTS, '--cluster-port', String(busPort)]
    return new RedisServer({ folder, name: `node-${i}`, extraArguments })
  })
  t.teardown(async () => {
    await Promise.all(nodes.map((node) => node.wipe()))
    rmSync(folder, { recursive: true, force: true })
  })
  await Promise.all(nodes.map((node) => node.start()))
  const cluster: RedisClusterForTest = {
    nodes,
    url: nodes.map(({ url }) => url).join(','),
    onNode: (node, command, ...args) => onNode(nodes[node], command, args)
  }
  for (const i of nodes.keys()) {
    const [first, last] = [Math.floor((SLOTS * i) / nodes.length), Math.floor((SLOTS * (i + 1)) / nodes.length) - 1]
    await cluster.onNode(i, 'CLUSTER', 'ADDSLOTSRANGE', first, last)
    if (i > 0) await cluster.onNode(0, 'CLUSTER', 'MEET', '127.0.0.1', nodes[i]?.port ?? 0, busPorts[i] ?? 0)
  }
  await agreed(cluster)
  return cluster
}

/** Resolves when every node sees all slots served. */
export async function agreed(cluster: RedisClusterForTest): Promise<void> {
  const isAgreed = async (): Promise<boolean> => {
    const seen = await Promise.all(
      cluster.nodes.map(async (_, i) => String(await cluster.onNode(i, 'CLUSTER', 'INFO')))
    )
    return seen.every((text) => /cluster_state:ok/.test(text) && /cluster_known_nodes:3/.test(text))
  }
  await waitUntil(isAgreed, { what: 'the nodes of the cluster to agree', timeoutMs: READY_TIMEOUT_MS })
}

async function onNode(
  node: RedisServer | undefined,
  command: string,
  args: readonly (string | number)[]
): Promise<unknown> {
  if (node === undefined) throw new Error('the cluster has three nodes')
  const redis = new Redis(node.url, { maxRetriesPerRequest: 1 })
  try {
    return await redis.call(command, ...args)
  } finally {
    redis.disconnect()
  }
}
