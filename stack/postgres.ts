import { execFile, execFileSync, spawnSync } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { chownSync, existsSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { Client } from 'pg'
import { findPostgresProgram } from './machine/find-program.ts'
import { type Launch, NativeServer, type ServerOptions } from './machine/native-server.ts'

const OWNER = 'tokenmeter'
const DATABASE = 'tokenmeter'
const CONNECTIONS_MAX = 200
const execute = promisify(execFile)

/**
 * PostgreSQL in a data folder of its own; the cluster that Debian's package may have started is left alone. PostgreSQL
 * refuses to run as root, so root runs it as the user that the package makes. Every connection gives a password: on a
 * shared machine a trusted loopback port would hand the server to each of its users.
 */
export class PostgresServer extends NativeServer {
  readonly #user = process.getuid?.() === 0 ? findPackageUser() : undefined

  constructor(options: ServerOptions) {
    super(options, 'postgres')
  }

  override get url(): string {
    return this.#urlOf(DATABASE)
  }

  /** SIGTERM would wait for every client to leave; SIGINT ends their sessions and shuts down in order. */
  protected override get stopSignal(): NodeJS.Signals {
    return 'SIGINT'
  }

  /** After SIGKILL the children of the old server hold its shared memory for a moment, and a new one refuses to start. */
  protected override get retriesLaunch(): boolean {
    return true
  }

  protected override async prepare(): Promise<void> {
    if (existsSync(join(this.dataFolder, 'PG_VERSION'))) return
    if (!this.#isReachable()) this.moveData(this.#systemFolder())
    if (!this.#isReachable()) {
      throw new Error(`user postgres cannot write to ${this.dataFolder}: let it through the folders above`)
    }
    await this.#initialise()
  }

  protected override launch(): Launch {
    const settings = [
      'listen_addresses=127.0.0.1',
      `port=${this.port}`,
      'unix_socket_directories=',
      `max_connections=${CONNECTIONS_MAX}`
    ]
    const args = ['-D', this.dataFolder, ...settings.flatMap((setting) => ['-c', setting])]
    return { command: findPostgresProgram('postgres'), args, ...(this.#user && { user: this.#user }) }
  }

  protected override async probe(): Promise<void> {
    const client = new Client({ connectionString: this.#urlOf('postgres'), connectionTimeoutMillis: 3_000 })
    try {
      await client.connect()
      const { rowCount } = await client.query('select 1 from pg_database where datname = $1', [DATABASE])
      if (rowCount === 0) await client.query(`create database ${DATABASE}`)
    } finally {
      await client.end()
    }
  }

  #urlOf(database: string): string {
    return `postgresql://${OWNER}:${this.recall('password') ?? ''}@127.0.0.1:${this.port}/${database}`
  }

  async #initialise(): Promise<void> {
    const password = this.remember('password', randomBytes(16).toString('hex'))
    const passwordFile = `${this.dataFolder}-password`
    writeFileSync(passwordFile, password, { mode: 0o600 })
    this.#giveAway(passwordFile)
    try {
      const options = ['--auth=scram-sha-256', '--encoding=UTF8', '--locale=C.UTF-8', `--pwfile=${passwordFile}`]
      await execute(findPostgresProgram('initdb'), ['-D', this.dataFolder, '-U', OWNER, ...options], {
        cwd: '/',
        ...this.#user
      })
    } finally {
      rmSync(passwordFile, { force: true })
    }
  }

  #giveAway(path: string): void {
    if (this.#user !== undefined) chownSync(path, this.#user.uid, this.#user.gid)
  }

  /** The project may lie below a folder that only root may enter, /root for instance. */
  #isReachable(): boolean {
    if (this.#user === undefined) return true
    this.#giveAway(this.dataFolder)
    const options = { cwd: '/', ...this.#user }
    return spawnSync('test', ['-w', this.dataFolder], options).status === 0
  }

  #systemFolder(): string {
    const mark = createHash('sha256').update(this.dataFolder).digest('hex').slice(0, 12)
    return `/var/lib/tokenmeter-${mark}`
  }
}

function findPackageUser(): { uid: number; gid: number } {
  const read = (flag: string): number => Number(execFileSync('id', [flag, 'postgres'], { encoding: 'utf8' }))
  return { uid: read('-u'), gid: read('-g') }
}
