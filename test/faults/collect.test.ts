// Processes that collect, killed at any moment and at every named point, while the provider loses answers, declines and delays: one
// charge for each key, and every invoice paid once.

import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import type { Turn } from '../../payments/stripe-stand-in.ts'
import { Random } from '../../stack/demo/random.ts'
import { projectFolder } from '../../stack/machine/native-server.ts'
import { type Collecting, startCollecting } from '../payments/collecting.ts'
import { until } from './fault-system.ts'

/** One round is CI's size; FAULT_ROUNDS=5 kills more than 100 times. */
const ROUNDS = Number(process.env.FAULT_ROUNDS ?? 1)
const INVOICES = 180
const RANDOM_KILLS = 14
const LOSS_RATE = 0.2
const POINTS = [
  'before:payment-store.begin:2',
  'after:payment-store.begin:1',
  'after:payment-store.begin:4',
  'before:provider.charge:1',
  'after:provider.charge:1',
  'after:provider.charge:5',
  'before:payment-store.settle:2',
  'after:payment-store.settle:1'
]
const MEMBER = join(import.meta.dirname, '..', 'payments', 'collect-member.ts')
const COMPILE_CACHE = join(projectFolder(), '.stack', 'compile-cache')

class Members {
  readonly #args: readonly string[]
  readonly #living = new Set<ChildProcess>()
  kills = 0
  output = ''

  constructor(t: Test, { databaseUrl, stripe }: Collecting) {
    this.#args = [MEMBER, databaseUrl, JSON.stringify(stripe.connection), String(Date.now())]
    t.teardown(() => this.stop())
  }

  start(crashAt?: string): ChildProcess {
    const args = [...this.#args, ...(crashAt === undefined ? [] : [crashAt])]
    const member = spawn(process.execPath, args, { env: { ...process.env, NODE_COMPILE_CACHE: COMPILE_CACHE } })
    this.#living.add(member)
    for (const stream of [member.stdout, member.stderr]) {
      stream.on('data', (text: Buffer) => {
        this.output += text.toString()
      })
    }
    member.once('exit', (_, signal) => {
      this.#living.delete(member)
      if (signal === 'SIGKILL') this.kills += 1
    })
    return member
  }

  async stop(): Promise<void> {
    await Promise.all([...this.#living].map(kill))
  }
}

async function kill(member: ChildProcess): Promise<void> {
  const gone = once(member, 'exit')
  member.kill('SIGKILL')
  await gone
}

/** An invoice's first two charges may be declined, or take their time; so many of all answers are lost. */
function misbehave({ stripe }: Collecting, random: Random, lossRate: number): void {
  stripe.turnFor = ({ method, parameters }): Turn => {
    const answer = random.next() < lossRate ? 'lost' : 'given'
    if (method !== 'POST') return { answer }
    const invoiceId = parameters.get('metadata[invoiceId]') ?? ''
    const declined = stripe.intents.filter(
      ({ metadata, last_payment_error: error }) => metadata.invoiceId === invoiceId && error
    )
    if (declined.length < 2 && random.next() < 0.3) {
      return { answer, makes: { declined: 'insufficient_funds' } }
    }
    return { answer, makes: random.next() < 0.2 ? 'processing' : 'succeeded' }
  }
}

/** What took its time has succeeded. */
function settleAll({ stripe }: Collecting): void {
  for (const { id, status } of stripe.charges) if (status === 'processing') stripe.settle(id, 'succeeded')
}

for (let round = 1; round <= ROUNDS; round++) {
  t.test(`round ${round}: one charge for each key, and every invoice is paid once`, async (t) => {
    const random = new Random(round)
    const collecting = await startCollecting(t, { invoices: INVOICES })
    // A point after a call is passed by when the call has no answer.
    misbehave(collecting, random, 0)
    const { stripe } = collecting
    const members = new Members(t, collecting)
    for (const point of POINTS) {
      const member = members.start(point)
      await until(`a member to die at ${point}`, () => {
        settleAll(collecting)
        return member.signalCode === 'SIGKILL' || member.exitCode !== null
      })
    }
    misbehave(collecting, random, LOSS_RATE)
    members.start()
    for (let i = 0; i < RANDOM_KILLS; i++) {
      const member = members.start()
      const wanted = stripe.requests.length + 1 + random.below(12)
      await until('some more requests', () => stripe.requests.length >= wanted)
      await kill(member)
    }
    members.start()
    await until('every invoice to be paid', async () => {
      settleAll(collecting)
      return (await collecting.invoices()).every(({ status }) => status === 'paid')
    })
    await until(
      'every subscription to have recovered',
      async () => (await collecting.subscriptionStatus()) === 'active'
    )
    await members.stop()

    await judge(t, collecting)
    t.notMatch(members.output, /fault/)
    const least = POINTS.length + RANDOM_KILLS
    t.ok(members.kills >= least, `${members.kills} SIGKILLs, at least ${least}`)
    t.comment(
      `${members.kills} SIGKILLs, ${stripe.requests.length} requests, ${stripe.intents.length} charges asked for`
    )
  })
}

async function judge(t: Test, collecting: Collecting): Promise<void> {
  const { stripe } = collecting
  const [invoices, payments, events] = [
    await collecting.invoices(),
    await collecting.payments(),
    await collecting.events()
  ]
  const keys = stripe.intents.map(({ metadata }) => metadata.paymentId)
  t.equal(new Set(keys).size, keys.length, 'one charge for each key')
  const charged = Map.groupBy(stripe.charges, ({ metadata }) => metadata.invoiceId)
  const succeeded = Map.groupBy(
    payments.filter(({ status }) => status === 'succeeded'),
    ({ invoiceId }) => invoiceId
  )
  const faults = invoices.filter(
    ({ id, paid, due }) => paid !== due || charged.get(id)?.length !== 1 || succeeded.get(id)?.length !== 1
  )
  t.same(faults, [], 'each invoice is charged once, and paid once')
  const sumOf = (amounts: readonly (number | string)[]) => amounts.reduce<number>((sum, one) => sum + Number(one), 0)
  t.equal(sumOf(stripe.charges.map(({ amount }) => amount)), sumOf(invoices.map(({ paid }) => paid)))
  t.equal(events.filter((type) => type === 'invoice.paid').length, invoices.length)
  const failed = payments.filter(({ status }) => status === 'failed').length
  t.equal(events.filter((type) => type === 'payment.failed').length, failed)
  t.ok(failed > 0)
}
