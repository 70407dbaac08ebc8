/** The topics: how they are made, and what must be true of one that someone else made. */
import kafkajs, { type Admin, type ITopicMetadata, type Kafka } from 'kafkajs'
import { translateKafkaError } from './kafka-client.ts'

// A CommonJS module whose constants and classes Node's import can't see by name.
const { ConfigResourceTypes, KafkaJSError } = kafkajs

export interface TopicPlan {
  readonly name: string
  /** Of a topic that has to be made; one that is there keeps its own number. */
  readonly partitions: number
  readonly replicas: number
  readonly settings: Readonly<Record<string, string>>
  /** What an existing topic may say for a setting; a setting that is not named here may be anything. */
  readonly checks: Readonly<Record<string, SettingCheck>>
}

export interface SettingCheck {
  readonly accepts: (value: string) => boolean
  readonly wants: string
}

export interface TopicsChoice {
  readonly usageTopic: string
  readonly deadLetterTopic: string
  readonly partitions: number
  readonly replicas: number
  /** How long a repeat of an event is known as one. */
  readonly duplicateWindowMs: number
  readonly usageRetentionMs: number
  readonly deadLetterRetentionMs: number
}

export interface Topics {
  readonly usage: TopicPlan
  readonly deadLetters: TopicPlan
}

/**
 * Largest record batch of the usage topic. An event's value may have 64 KB; the rest is for producers that send many at a
 * time. A dead letter is a usage record with more headers, so its topic takes a little more.
 */
export const USAGE_MESSAGE_BYTES_MAX = 1024 * 1024
export const DEAD_LETTER_MESSAGE_BYTES_MAX = USAGE_MESSAGE_BYTES_MAX + 64 * 1024

/** An entity came by a request of at most 256 KB; the relay sends half of this at a time. */
export const EVENT_MESSAGE_BYTES_MAX = 1024 * 1024

export function planTopics(choice: TopicsChoice): Topics {
  if (choice.usageRetentionMs <= choice.duplicateWindowMs) {
    throw new Error(
      `the usage topic must keep records for longer than the duplicate window: retention ${choice.usageRetentionMs} ms, window ${choice.duplicateWindowMs} ms`
    )
  }
  return {
    usage: {
      name: choice.usageTopic,
      partitions: choice.partitions,
      replicas: choice.replicas,
      settings: settingsOf(choice.usageRetentionMs, USAGE_MESSAGE_BYTES_MAX),
      checks: {
        ...CHECKS,
        'retention.ms': keepsFor(choice.duplicateWindowMs),
        'max.message.bytes': AT_MOST_A_LETTER
      }
    },
    deadLetters: {
      name: choice.deadLetterTopic,
      partitions: choice.partitions,
      replicas: choice.replicas,
      settings: settingsOf(choice.deadLetterRetentionMs, DEAD_LETTER_MESSAGE_BYTES_MAX),
      checks: {
        ...CHECKS,
        'max.message.bytes': {
          accepts: (value) => Number(value) >= DEAD_LETTER_MESSAGE_BYTES_MAX,
          wants: `at least ${DEAD_LETTER_MESSAGE_BYTES_MAX}`
        }
      }
    }
  }
}

/** What the relay appends to is nothing's cursor, so that only what would lose an event matters: a topic that compacts keeps one a customer. */
export function planEventsTopic(
  choice: Pick<TopicPlan, 'name' | 'partitions' | 'replicas'> & { readonly retentionMs: number }
): TopicPlan {
  const { retentionMs, ...topic } = choice
  return {
    ...topic,
    settings: settingsOf(retentionMs, EVENT_MESSAGE_BYTES_MAX),
    checks: {
      'cleanup.policy': is('delete'),
      'max.message.bytes': {
        accepts: (value) => Number(value) >= EVENT_MESSAGE_BYTES_MAX,
        wants: `at least ${EVENT_MESSAGE_BYTES_MAX}`
      }
    }
  }
}

/** As the usage topic, so that each record tells its arrival and fits into a dead letter. */
export function planAuditTopic(
  choice: Pick<TopicPlan, 'name' | 'partitions' | 'replicas'> & { readonly retentionMs: number }
): TopicPlan {
  const { retentionMs, ...topic } = choice
  return {
    ...topic,
    settings: settingsOf(retentionMs, USAGE_MESSAGE_BYTES_MAX),
    checks: { ...CHECKS, 'max.message.bytes': AT_MOST_A_LETTER }
  }
}

function settingsOf(retentionMs: number, messageBytesMax: number): Readonly<Record<string, string>> {
  return {
    'message.timestamp.type': 'LogAppendTime',
    'cleanup.policy': 'delete',
    // Whatever a producer compresses with, the broker stores plain: kafkajs reads gzip alone, and a record that was
    // stored small but is large could not be kept as a dead letter.
    'compression.type': 'uncompressed',
    'retention.ms': String(retentionMs),
    'retention.bytes': '-1',
    'max.message.bytes': String(messageBytesMax)
  }
}

const CHECKS: Readonly<Record<string, SettingCheck>> = {
  'message.timestamp.type': is('LogAppendTime'),
  'cleanup.policy': is('delete'),
  'compression.type': is('uncompressed'),
  'retention.bytes': is('-1')
}

/** Larger, and there could be a record that no dead letter can hold. */
const AT_MOST_A_LETTER: SettingCheck = {
  accepts: (value) => Number(value) <= USAGE_MESSAGE_BYTES_MAX,
  wants: `at most ${USAGE_MESSAGE_BYTES_MAX}`
}

function is(wanted: string): SettingCheck {
  return { accepts: (value) => value === wanted, wants: wanted }
}

function keepsFor(windowMs: number): SettingCheck {
  return {
    accepts: (value) => value === '-1' || Number(value) > windowMs,
    wants: `more than ${windowMs} (the duplicate window) or -1`
  }
}

const LEADERS_TIMEOUT_MS = 15_000

/**
 * Makes what is missing, waits until each partition has a leader, and throws when an existing topic is set so that counting
 * would go wrong, naming every such setting. Answers the partitions of each topic by its name.
 */
export async function ensureTopics(kafka: Kafka, plans: readonly TopicPlan[]): Promise<ReadonlyMap<string, number>> {
  const admin = kafka.admin()
  try {
    await admin.connect()
    const present = new Set(await admin.listTopics())
    const missing = plans.filter(({ name }) => !present.has(name))
    if (missing.length > 0) await makeTopics(admin, missing)
    const partitions = await awaitLeaders(admin, plans)
    const faults = await findFaults(admin, plans)
    if (faults.length > 0) throw new Error(`the topics are not as they must be: ${faults.join('; ')}`)
    return partitions
  } catch (error) {
    throw translateKafkaError(error, `prepare the topics ${plans.map(({ name }) => name).join(', ')}`)
  } finally {
    await admin.disconnect()
  }
}

/** Another process may make them at the same time: that is no error, and the checks look at what there is. */
async function makeTopics(admin: Admin, plans: readonly TopicPlan[]): Promise<void> {
  for (const { name, partitions, replicas, settings } of plans) {
    await admin.createTopics({
      timeout: LEADERS_TIMEOUT_MS,
      // kafkajs would give up at a broker that has not heard of the topic yet; awaitLeaders asks again.
      waitForLeaders: false,
      topics: [
        {
          topic: name,
          numPartitions: partitions,
          replicationFactor: replicas,
          configEntries: Object.entries(settings).map(([setting, value]) => ({ name: setting, value }))
        }
      ]
    })
  }
}

async function findFaults(admin: Admin, plans: readonly TopicPlan[]): Promise<readonly string[]> {
  const { resources } = await admin.describeConfigs({
    includeSynonyms: false,
    resources: plans.map(({ name }) => ({ type: ConfigResourceTypes.TOPIC, name }))
  })
  return plans.flatMap(({ name, checks }) => {
    const entries = resources.find(({ resourceName }) => resourceName === name)?.configEntries ?? []
    const settings = new Map(entries.map(({ configName, configValue }) => [configName, configValue]))
    return Object.entries(checks).flatMap(([setting, { accepts, wants }]) => {
      const value = settings.get(setting) ?? ''
      return accepts(value) ? [] : [`${name} has ${setting}=${value}, not ${wants}`]
    })
  })
}

async function awaitLeaders(admin: Admin, plans: readonly TopicPlan[]): Promise<ReadonlyMap<string, number>> {
  const deadline = Date.now() + LEADERS_TIMEOUT_MS
  for (;;) {
    const topics = await knownTopics(admin, plans)
    const leaderless = plans.filter(({ name }) => !isWhole(topics.find((topic) => topic.name === name)))
    if (leaderless.length === 0) return new Map(topics.map(({ name, partitions }) => [name, partitions.length]))
    if (Date.now() > deadline) throw new Error(`no leader yet for ${leaderless.map(({ name }) => name).join(', ')}`)
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
}

/** A topic that was just made is listed before it is whole, and by one broker before another has heard of it. */
async function knownTopics(admin: Admin, plans: readonly TopicPlan[]): Promise<readonly ITopicMetadata[]> {
  const present = new Set(await admin.listTopics())
  const known = plans.map(({ name }) => name).filter((name) => present.has(name))
  try {
    return (await admin.fetchTopicMetadata({ topics: known })).topics
  } catch (error) {
    if (error instanceof KafkaJSError && error.retriable) return []
    throw error
  }
}

function isWhole(topic: ITopicMetadata | undefined): boolean {
  return topic !== undefined && topic.partitions.length > 0 && topic.partitions.every(({ leader }) => leader >= 0)
}
