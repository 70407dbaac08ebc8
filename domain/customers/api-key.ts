/** A credential of the platform or of one customer, as it is kept: never its secret, which is told once, when it is made. */
import { hash, randomBytes } from 'node:crypto'
import { crc32 } from 'node:zlib'

export interface ApiKey {
  /** UUID v7. */
  readonly id: string
  /** Null: a key of the platform, whose caller names the customer it acts for. */
  readonly customerId: string | null
  /** For people; a key and the one that replaces it share it. */
  readonly name: string
  /** What it is good for, as the API names it. */
  readonly scopes: readonly string[]
  /** From then on it opens nothing, ms; null: never. */
  readonly expiresAt: number | null
  readonly revokedAt: number | null
  /** Id of the key that was made in its place; it may still live beside it. */
  readonly replacedBy: string | null
  /** Ms, null: never. It lags by up to a minute and raises no version. */
  readonly lastUsedAt: number | null
  /** Raised by one with each change. */
  readonly version: number
  readonly createdAt: number
  readonly updatedAt: number
}

/** How long both keys of a rotation live unless told: a day, so that whoever uses the old one can be told in working hours. */
export const ROTATION_OVERLAP_MS = 86_400_000

export function isLive({ expiresAt, revokedAt }: ApiKey, at: number): boolean {
  return revokedAt === null && (expiresAt === null || expiresAt > at)
}

export interface Rotation {
  /** Of the new key. */
  readonly id: string
  readonly at: number
  /** How long the old one goes on, unless it expires before. */
  readonly overlapMs: number
}

/** The key in its place, with as long a life as the old one had; null: the old one is not live, or was replaced before. */
export function rotate(
  old: ApiKey,
  { id, at, overlapMs }: Rotation
): { readonly old: ApiKey; readonly fresh: ApiKey } | null {
  if (!isLive(old, at) || old.replacedBy !== null) return null
  const { expiresAt, createdAt } = old
  const endsAt = Math.min(expiresAt ?? Number.POSITIVE_INFINITY, at + overlapMs)
  return {
    old: { ...old, expiresAt: endsAt, replacedBy: id, version: old.version + 1, updatedAt: at },
    fresh: {
      ...old,
      id,
      expiresAt: expiresAt === null ? null : at + (expiresAt - createdAt),
      lastUsedAt: null,
      version: 1,
      createdAt: at,
      updatedAt: at
    }
  }
}

const BASE62 = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'
/** 192 bits: nobody guesses one, and a fast hash keeps it as well as a slow one would. */
const RANDOM_BYTES = 24
const RANDOM_LENGTH = 33
const CRC_LENGTH = 6
const SECRET = new RegExp(
  `^(?<body>tm_[a-z0-9]{1,16}_[0-9A-Za-z]{${RANDOM_LENGTH}})_(?<crc>[0-9A-Za-z]{${CRC_LENGTH}})$`
)

/** `tm_<environment>_<random>_<crc>`: found by whoever looks for lost secrets, and told from a typing error without a look-up. */
export function makeSecret(environment: string): string {
  const random = randomBytes(RANDOM_BYTES).toString('hex')
  const body = `tm_${environment}_${base62(BigInt(`0x${random}`), RANDOM_LENGTH)}`
  return `${body}_${base62(BigInt(crc32(body)), CRC_LENGTH)}`
}

/** Whether it can be a key at all. */
export function isWellFormed(secret: string): boolean {
  const { body, crc } = SECRET.exec(secret)?.groups ?? {}
  return body !== undefined && crc === base62(BigInt(crc32(body)), CRC_LENGTH)
}

/** What is kept of a secret: the 64 hexadecimal digits of its SHA-256. */
export function hashOf(secret: string): string {
  return hash('sha256', secret, 'hex')
}

function base62(value: bigint, length: number): string {
  let digits = ''
  for (let rest = value; digits.length < length; rest /= 62n) digits = `${BASE62[Number(rest % 62n)]}${digits}`
  return digits
}
