import fc from 'fast-check'
import t from 'tap'
import { type InboxBounds, PartitionInbox } from './partition-inbox.ts'

const BOUNDS: InboxBounds = { batchRecordsMax: 5, inboxRecordsMax: 20, inboxBytesMax: 1_000 }

function stretch(from: number, offsets: readonly number[], to: number) {
  const records = offsets.map((offset) => ({ offset, arrivedAt: offset, key: null, value: null, headers: {} }))
  return { from, to, records, bytes: offsets.length * 10 }
}

t.test('whatever is fetched comes out once, in order, in batches that join and keep the bound', async () => {
  const fetches = fc.array(fc.record({ gap: fc.nat(3), records: fc.nat(12), takes: fc.nat(3) }), { maxLength: 40 })
  fc.assert(
    fc.property(fetches, (plan) => {
      const inbox = new PartitionInbox(BOUNDS)
      inbox.begin(100)
      const offered: number[] = []
      const taken: number[] = []
      let end = 100
      const takeOne = (): boolean => {
        const batch = inbox.take()
        if (batch === null) return false
        if (batch.from !== end) throw new Error(`a batch from ${batch.from} after ${end}`)
        if (batch.records.length > BOUNDS.batchRecordsMax) throw new Error(`${batch.records.length} records in a batch`)
        if (batch.records.some(({ offset }) => offset < batch.from || offset >= batch.to)) throw new Error('outside')
        taken.push(...batch.records.map(({ offset }) => offset))
        end = batch.to
        return true
      }
      for (const { gap, records, takes } of plan) {
        const from = inbox.position
        const offsets = Array.from({ length: records }, (_, i) => from + gap + i * 2)
        const to = from + gap + records * 2
        if (!inbox.offer(stretch(from, offsets, to))) throw new Error('a stretch at the position was refused')
        if (inbox.offer(stretch(from - 1, offsets, to))) throw new Error('a stretch from elsewhere was accepted')
        offered.push(...offsets)
        for (let i = 0; i < takes; i++) takeOne()
      }
      while (takeOne());
      if (!inbox.hasRoom || inbox.isFull || !inbox.isEmpty) throw new Error('an emptied inbox says it holds something')
      return end === inbox.position && JSON.stringify(taken) === JSON.stringify(offered)
    })
  )
})

t.test('it is full at either bound and has room again when half of it was taken', async (t) => {
  const inbox = new PartitionInbox(BOUNDS)
  inbox.begin(0)
  inbox.offer(
    stretch(
      0,
      Array(19)
        .fill(0)
        .map((_, i) => i),
      19
    )
  )
  t.notOk(inbox.isFull)
  inbox.offer(stretch(19, [19], 20))
  t.ok(inbox.isFull)
  inbox.take()
  t.notOk(inbox.hasRoom, 'fifteen are left')
  inbox.take()
  t.ok(inbox.hasRoom, 'ten are left')
  inbox.offer({ ...stretch(20, [20], 21), bytes: 990 })
  t.ok(inbox.isFull, 'by its bytes')
})

t.test('beginning elsewhere forgets what waited, and a failure is told after the records before it', async (t) => {
  const inbox = new PartitionInbox(BOUNDS)
  inbox.begin(0)
  inbox.offer(stretch(0, [0, 1], 2))
  inbox.begin(7)
  t.equal(inbox.take(), null)
  t.equal(inbox.position, 7)
  inbox.skipTo(9)
  inbox.fail(new Error('gone'))
  t.match(inbox.take(), { from: 7, to: 9, records: [] })
  t.throws(() => inbox.take(), { message: 'gone' })
})

t.test('waiting ends with an arrival, when woken, or with its time', async (t) => {
  const inbox = new PartitionInbox(BOUNDS)
  inbox.begin(0)
  const arrived = inbox.arrival(60_000)
  inbox.offer(stretch(0, [0], 1))
  await arrived
  inbox.take()
  const woken = inbox.arrival(60_000)
  inbox.wake()
  await woken
  await inbox.arrival(5)
  t.ok(inbox.isEmpty)
})
