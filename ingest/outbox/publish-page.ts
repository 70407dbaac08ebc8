/**
 * From the outbox to the topic of events. Everything else about publishing (when, by which process, until when) is run-relay.ts.
 *
 * It may die, or be overtaken by another relay, between any two awaited lines:
 *   before the broker has the page     nothing happened
 *   after, before it is removed        whoever comes next publishes it again under the same ids
 *   after it is removed                nothing is left to do
 * No event is passed over: what is removed is what was sent, by its positions, and never "everything up to here", so that a
 * change that commits late finds its events taken later. And no event is first heard before an earlier one of its customer,
 * whatever relays do at once: the earlier one is in the page before it, or was removed because the broker had it.
 */
import type { EventLog, Outbox, OutboxEvent } from '../../domain/published-event.ts'

export interface RelayPorts {
  readonly outbox: Outbox
  readonly events: EventLog
}

/** Publishes what has waited longest, and answers it. An empty page changes nothing. */
export async function publishPage(
  { outbox, events }: RelayPorts,
  pageEventsMax: number
): Promise<readonly OutboxEvent[]> {
  const page = await outbox.take(pageEventsMax)
  if (page.length === 0) return page
  await events.append(page)
  await outbox.remove(page.map(({ position }) => position))
  return page
}
