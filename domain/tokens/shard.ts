/**
 * Which shard of the meter and which partition of the log a customer belongs to: Kafka's own partitioner hash, so that the
 * events of one customer meet one shard.
 */

/** The 32-bit murmur2 of Kafka's default partitioner, made positive as Kafka does. */
export function customerHash(customerId: string): number {
  const bytes = Buffer.from(customerId, 'utf8')
  const m = 0x5bd1e995
  let hash = 0x9747b28c ^ bytes.length
  const whole = bytes.length & ~3
  for (let i = 0; i < whole; i += 4) {
    let k = Math.imul(bytes.readInt32LE(i), m)
    k = Math.imul(k ^ (k >>> 24), m)
    hash = Math.imul(hash, m) ^ k
  }
  const rest = bytes.length - whole
  if (rest === 3) hash ^= bytes.readUInt8(whole + 2) << 16
  if (rest >= 2) hash ^= bytes.readUInt8(whole + 1) << 8
  if (rest >= 1) hash = Math.imul(hash ^ bytes.readUInt8(whole), m)
  hash = Math.imul(hash ^ (hash >>> 13), m)
  return (hash ^ (hash >>> 15)) & 0x7fffffff
}

/** Shard in [0, shards). */
export function shardOf(customerId: string, shards: number): number {
  return shards === 1 ? 0 : customerHash(customerId) % shards
}

/** The partition to which Kafka's default partitioner sends a customer's events, in [0, partitions). */
export function partitionOf(customerId: string, partitions: number): number {
  return customerHash(customerId) % partitions
}
