import { findProgram } from './machine/find-program.ts'
import { type Launch, NativeServer, type ServerOptions } from './machine/native-server.ts'
import { askPort } from './machine/ports.ts'

export interface RedisServerOptions extends ServerOptions {
  /** Appended to the command line, for instance `['--cluster-enabled', 'yes']`. */
  extraArguments?: readonly string[]
}

/** Redis 7 with the append-only file synced every second, refusing writes rather than evicting keys when memory is full. */
export class RedisServer extends NativeServer {
  readonly #extraArguments: readonly string[]

  constructor({ extraArguments = [], ...options }: RedisServerOptions) {
    super(options, 'redis')
    this.#extraArguments = extraArguments
  }

  override get url(): string {
    return `redis://127.0.0.1:${this.port}`
  }

  /** Nothing but the folder. */
  protected override async prepare(): Promise<void> {
    return undefined
  }

  protected override launch(): Launch {
    const settings = {
      bind: '127.0.0.1',
      port: String(this.port),
      dir: this.dataFolder,
      appendonly: 'yes',
      appendfsync: 'everysec',
      'maxmemory-policy': 'noeviction',
      save: ''
    }
    const args = Object.entries(settings).flatMap(([name, value]) => [`--${name}`, value])
    return { command: findProgram('redis-server'), args: [...args, ...this.#extraArguments] }
  }

  /** While Redis loads its file it answers -LOADING, which is not ready. */
  protected override async probe(): Promise<void> {
    const answer = await askPort(this.port, 'PING\r\n')
    if (!answer.startsWith('+PONG')) throw new Error(`Redis answered ${answer.trim()}`)
  }
}
