/** Once a minute: writes down which users were seen, and counts them for whoever watches. Each process notes those it saw. */
import type { Logger } from 'pino'
import type { SeenUsers, UserActivity } from '../domain/customers/user-activity.ts'
import { ACTIVITY_WINDOWS_MS, type ActiveUsers } from './metrics.ts'

const INTERVAL_MS = 60_000

export interface ActivityNotesOptions {
  readonly seen: SeenUsers
  readonly activity: UserActivity
  readonly logger: Pick<Logger, 'warn'>
  /** Null when they could not be counted. Of one kind of process alone: each would tell the same figures. */
  readonly tell?: (users: ActiveUsers | null) => void
}

export class ActivityNotes {
  readonly #options: ActivityNotesOptions
  readonly #timer: NodeJS.Timeout
  #running: Promise<void> = Promise.resolve()

  constructor(options: ActivityNotesOptions) {
    this.#options = options
    this.#timer = setInterval(() => {
      this.#running = this.#running.then(() => this.note())
    }, INTERVAL_MS)
  }

  /** Notes what is left. */
  async stop(): Promise<void> {
    clearInterval(this.#timer)
    await this.#running
    await this.note()
  }

  /** A minute that can't be noted is left out: whoever goes on is seen again. */
  async note(): Promise<void> {
    const { seen, activity, logger, tell } = this.#options
    try {
      await activity.noteSeen(seen.take())
      if (tell === undefined) return
      const [quarter = 0, day = 0] = await activity.countSince(
        Object.values(ACTIVITY_WINDOWS_MS).map((windowMs) => Date.now() - windowMs)
      )
      tell({ '15m': quarter, '1d': day })
    } catch (error) {
      logger.warn({ err: error }, 'users seen in the last minute are not noted')
      tell?.(null)
    }
  }
}
