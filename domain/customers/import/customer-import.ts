/**
 * Taking over what a former service knows: its customers, then their users, then their subscriptions. A row is created, updated,
 * unchanged or refused; nothing that a row doesn't state is taken away, so that the same rows again change nothing.
 */
import type { AuditRecord } from '../../audit/audit-record.ts'
import type { BodyFault } from '../../body-place.ts'
import type { PublishedEvent } from '../../published-event.ts'
import type { PlanVersion } from '../../subscriptions/plan.ts'
import type { Subscription } from '../../subscriptions/subscription.ts'
import type { Transition } from '../../subscriptions/subscription-life-cycle.ts'
import type { Customer } from '../customer.ts'
import type { User } from '../user.ts'

/** In the order in which they are taken over: each names those of the parts before it. */
export const IMPORT_PARTS = ['customers', 'users', 'subscriptions'] as const
export type ImportPart = (typeof IMPORT_PARTS)[number]

/** How far a part was read: its first so many rows. Of a table also the key of the last of them, which rows are ordered by. */
export interface ImportPlace {
  readonly rows: number
  readonly key: string | null
}

export interface SourceRow {
  /** Its number among the rows of its part, from 1. */
  readonly row: number
  /** The line of the file on which it ends; of a table `row` again. */
  readonly line: number
  readonly key: string | null
  /** By column; what stood there instead when `fault` says that it is no row. */
  readonly values: unknown
  readonly fault: string | null
}

/** Where rows come from. They come in the same order whenever they are read, as long as `fingerprint` is the same. */
export interface ImportSource {
  /** For people; two sources never share one. Holds no password. */
  readonly name: string
  readonly fingerprint: string
  /** How many rows a part has, about: what progress is told by. Absent: the source has no such part. */
  readonly sizes: ReadonlyMap<ImportPart, number>
  /** Throws when the source can't be read or is not what the mapping says, and then has answered every row before. */
  rows(part: ImportPart, after: ImportPlace): AsyncIterable<SourceRow>
  close(): Promise<void>
}

export const OUTCOMES = ['created', 'updated', 'unchanged', 'refused'] as const
export type ImportOutcome = (typeof OUTCOMES)[number]
/** They sum to the rows that were read. */
export type ImportCounts = Readonly<Record<ImportOutcome, number>>

export const NO_COUNTS: ImportCounts = { created: 0, updated: 0, unchanged: 0, refused: 0 }

export interface PartProgress {
  readonly place: ImportPlace
  readonly counts: ImportCounts
}

/** A row whose columns were read as fields of ours. */
export interface Candidate {
  readonly source: SourceRow
  /** The customer it is of. */
  readonly externalId: string
  /** Two rows of a part that share one are the same thing: the second one is refused. */
  readonly key: string
  readonly fields: Readonly<Record<string, unknown>>
}

export interface Refusal {
  readonly part: ImportPart
  readonly source: SourceRow
  readonly externalId: string | null
  readonly faults: readonly BodyFault[]
}

export type CustomerStanding = Pick<Customer, 'id' | 'kind' | 'status' | 'currency' | 'timeZone'>
export type PlanStanding = Pick<PlanVersion, 'id' | 'code' | 'version' | 'status' | 'currency' | 'interval' | 'onlyFor'>
export type SubscriptionStanding = Pick<Subscription, 'planId' | 'anchor' | 'status'>

/** What there is already of what a batch names. Nobody else changes these customers until the batch is written. */
export interface Standings {
  /** By external id. */
  readonly customers: { readonly customers: ReadonlyMap<string, Customer> }
  readonly users: {
    readonly customers: ReadonlyMap<string, CustomerStanding>
    /** By key of the candidate. */
    readonly users: ReadonlyMap<string, User>
    /** By customer id: ids of those who count as owners. Judging keeps them up to date. */
    readonly owners: Map<string, Set<string>>
  }
  readonly subscriptions: {
    readonly customers: ReadonlyMap<string, CustomerStanding>
    /** Every version of each code that is named. */
    readonly plans: readonly PlanStanding[]
    /** By customer id, whatever their status. */
    readonly subscriptions: ReadonlyMap<string, readonly SubscriptionStanding[]>
  }
}

export interface ImportBatch<Part extends ImportPart = ImportPart> {
  readonly part: Part
  readonly from: ImportPlace
  readonly to: ImportPlace
  readonly candidates: readonly Candidate[]
}

/** `before` is null for one that is new. */
export interface Written<T> {
  readonly before: T | null
  readonly next: T
}

export interface JudgedBatch {
  readonly customers: readonly Written<Customer>[]
  readonly users: readonly Written<User>[]
  readonly subscriptions: readonly Transition[]
  readonly audit: readonly AuditRecord[]
  readonly events: readonly PublishedEvent[]
  readonly refusals: readonly Refusal[]
  /** Of all rows from `from` to `to`. */
  readonly counts: ImportCounts
}

/** By candidate's row: the line of the row that has its key, earlier in the source. */
export type Duplicates = ReadonlyMap<number, number>

/**
 * Where an import is written to, and how far it came. A batch is one transaction: entities, audit records, events, refusals, limits
 * that are due, and the place reached, all or none; so that whoever is killed at any moment goes on from the place that is stored.
 */
export interface CustomerImport {
  /** By part, from where to go on: the start, or where an earlier run of the same source came to when this one resumes it. */
  begin(
    source: Pick<ImportSource, 'name' | 'fingerprint'>,
    isResumed: boolean
  ): Promise<ReadonlyMap<ImportPart, PartProgress>>
  /** Throws, and writes nothing, when another process goes on with the import; a `RetryableError` may be resumed from. */
  apply<Part extends ImportPart>(
    batch: ImportBatch<Part>,
    judge: (standing: Standings[Part], duplicates: Duplicates) => JudgedBatch
  ): Promise<JudgedBatch>
  finish(): Promise<void>
  /** Every row refused, by runs before a kill as well, each as its line of the report: in order of parts and rows. */
  refusals(): AsyncIterable<string>
}

export function addCounts(one: ImportCounts, other: ImportCounts): ImportCounts {
  return {
    created: one.created + other.created,
    updated: one.updated + other.updated,
    unchanged: one.unchanged + other.unchanged,
    refused: one.refused + other.refused
  }
}

/** A line of the report: the first fault in plain sight, the others behind it, and the row as it came. */
export function tellRefusal({ part, source, externalId, faults }: Refusal): string {
  const [first = { field: '', message: 'was refused' }, ...others] = faults
  const more = others.length === 0 ? {} : { others: others.map(({ field, message }) => ({ field, reason: message })) }
  const { line, values } = source
  return JSON.stringify({ part, line, externalId, field: first.field, reason: first.message, ...more, row: values })
}
