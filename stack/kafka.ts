import { execFile } from 'node:child_process'
import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { Kafka, logLevel } from 'kafkajs'
import { findProgram } from './machine/find-program.ts'
import { kafkaJarFolder } from './machine/kafka-jars.ts'
import { type Launch, NativeServer, projectFolder, type ServerOptions } from './machine/native-server.ts'
import { findFreePort } from './machine/ports.ts'

const execute = promisify(execFile)

/**
 * Apache Kafka in KRaft mode, one node that is broker and controller. The jars must be in the cache
 * (`ensureKafkaJars`). `url` is a broker address, as `KAFKA_BROKERS` lists them.
 */
export class KafkaServer extends NativeServer {
  constructor(options: ServerOptions) {
    super(options, 'kafka')
  }

  override get url(): string {
    return `127.0.0.1:${this.port}`
  }

  get #settingsFile(): string {
    return join(this.dataFolder, 'server.properties')
  }

  get #logFolder(): string {
    return join(this.dataFolder, 'log')
  }

  protected override async prepare(): Promise<void> {
    const controllerPort =
      this.recall('controllerPort') ?? this.remember('controllerPort', String(await findFreePort()))
    mkdirSync(this.#logFolder, { recursive: true })
    writeFileSync(this.#settingsFile, describeBroker(this.port, Number(controllerPort), this.#logFolder))
    if (existsSync(join(this.#logFolder, 'meta.properties'))) return
    const clusterId = (await this.#runTool('random-uuid')).trim()
    await this.#runTool('format', '--standalone', '-t', clusterId, '-c', this.#settingsFile)
  }

  protected override launch(): Launch {
    const logSettings = join(projectFolder(), 'stack', 'kafka', 'log4j2.properties')
    const flags = ['-Xmx512m', `-Dlog4j2.configurationFile=${logSettings}`, '-cp', classPath()]
    return { command: findProgram('java'), args: [...flags, 'kafka.Kafka', this.#settingsFile] }
  }

  /** A broker that answers metadata may still have no group coordinator, and then a consumer's first join fails. */
  protected override async probe(): Promise<void> {
    const kafka = new Kafka({
      brokers: [this.url],
      clientId: 'tokenmeter-stack',
      logLevel: logLevel.NOTHING,
      connectionTimeout: 1_000,
      retry: { retries: 0 }
    })
    const admin = kafka.admin()
    try {
      await admin.connect()
      await admin.listTopics()
      await admin.fetchOffsets({ groupId: 'tokenmeter-stack' })
    } finally {
      await admin.disconnect()
    }
  }

  async #runTool(...args: string[]): Promise<string> {
    const flags = ['-XX:TieredStopAtLevel=1', '-XX:+UseSerialGC', '-cp', classPath()]
    const { stdout } = await execute(findProgram('java'), [...flags, 'kafka.tools.StorageTool', ...args])
    return stdout
  }
}

function classPath(): string {
  return join(kafkaJarFolder(), '*')
}

/**
 * Topics are made by those who own them, with their settings, never by a client's first look. A group may have a session
 * time-out of half a second, so that the partitions of a killed consumer move while a test looks on.
 */
function describeBroker(port: number, controllerPort: number, logFolder: string): string {
  const settings = {
    'process.roles': 'broker,controller',
    'node.id': '1',
    'controller.quorum.bootstrap.servers': `127.0.0.1:${controllerPort}`,
    listeners: `PLAINTEXT://127.0.0.1:${port},CONTROLLER://127.0.0.1:${controllerPort}`,
    'advertised.listeners': `PLAINTEXT://127.0.0.1:${port},CONTROLLER://127.0.0.1:${controllerPort}`,
    'controller.listener.names': 'CONTROLLER',
    'listener.security.protocol.map': 'PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT',
    'log.dirs': logFolder,
    'auto.create.topics.enable': 'false',
    'offsets.topic.replication.factor': '1',
    'offsets.topic.num.partitions': '3',
    'transaction.state.log.replication.factor': '1',
    'transaction.state.log.min.isr': '1',
    'transaction.state.log.num.partitions': '3',
    'share.coordinator.state.topic.replication.factor': '1',
    'share.coordinator.state.topic.min.isr': '1',
    'share.coordinator.state.topic.num.partitions': '3',
    'broker.session.timeout.ms': '1000',
    'broker.heartbeat.interval.ms': '200',
    'group.initial.rebalance.delay.ms': '0',
    'group.min.session.timeout.ms': '500'
  }
  return Object.entries(settings)
    .map(([name, value]) => `${name}=${value}\n`)
    .join('')
}
