import type { BullMQAdapter } from '@bull-board/api/bullMQAdapter'

/** A queue as the board takes it: BullMQ's, which is billing-job/'s to make. */
export type BoardQueue = ConstructorParameters<typeof BullMQAdapter>[0]
