/** Connections to Postgres, read from the pools themselves whenever metrics are asked for. */
import { Gauge, type Registry } from 'prom-client'

export interface PoolState {
  /** Open connections, idle ones included. */
  readonly open: number
  readonly idle: number
  /** Statements that wait for a connection. */
  readonly waiting: number
  /** The most that may be open. */
  readonly max: number
}

/**
 * Call it once a registry. The names of `pools` become a label, so they are few and fixed. A reader must not wait: a pool that is
 * still connecting has nothing open.
 */
export function observePools(registry: Registry, pools: Readonly<Record<string, () => PoolState>>): void {
  const registers = [registry]
  const states = (): [pool: string, state: PoolState][] => Object.entries(pools).map(([pool, read]) => [pool, read()])
  new Gauge({
    name: 'tokenmeter_postgres_connections',
    help: 'Open connections to Postgres, busy and idle, by pool.',
    labelNames: ['pool', 'state'],
    registers,
    collect() {
      for (const [pool, { open, idle }] of states()) {
        this.set({ pool, state: 'busy' }, open - idle)
        this.set({ pool, state: 'idle' }, idle)
      }
    }
  })
  new Gauge({
    name: 'tokenmeter_postgres_connections_max',
    help: 'The most connections that the pool may open.',
    labelNames: ['pool'],
    registers,
    collect() {
      for (const [pool, { max }] of states()) this.set({ pool }, max)
    }
  })
  new Gauge({
    name: 'tokenmeter_postgres_waiting',
    help: 'Statements that wait for a connection of the pool.',
    labelNames: ['pool'],
    registers,
    collect() {
      for (const [pool, { waiting }] of states()) this.set({ pool }, waiting)
    }
  })
}
