import { join } from 'node:path'
import { type Launch, NativeServer, projectFolder, type ServerOptions } from './machine/native-server.ts'

/** ClickHouse's engine (chDB) in a process that speaks ClickHouse's HTTP interface; see clickhouse-server.ts. */
export class ClickHouseServer extends NativeServer {
  constructor(options: ServerOptions) {
    super(options, 'clickhouse')
  }

  override get url(): string {
    return `http://127.0.0.1:${this.port}`
  }

  /** Nothing but the folder. */
  protected override async prepare(): Promise<void> {
    return undefined
  }

  protected override launch(): Launch {
    const entry = join(projectFolder(), 'stack', 'clickhouse-server.ts')
    const args = [entry, '--port', String(this.port), '--data', join(this.dataFolder, 'engine')]
    return { command: process.execPath, args }
  }

  protected override async probe(): Promise<void> {
    const answer = await fetch(`${this.url}/?query=select%201`, { signal: AbortSignal.timeout(5_000) })
    const text = await answer.text()
    if (text.trim() !== '1') throw new Error(`ClickHouse answered ${answer.status}: ${text}`)
  }
}
