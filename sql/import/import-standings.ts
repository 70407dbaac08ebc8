// What there is already of what a batch names. Customers are held until the batch is written, in the order of their ids, so that
// neither the API nor another import changes them meanwhile; a rehearsal holds nothing.

import type { Customer } from '../../domain/customers/customer.ts'
import type {
  Candidate,
  CustomerStanding,
  ImportPart,
  PlanStanding,
  Standings,
  SubscriptionStanding
} from '../../domain/customers/import/customer-import.ts'
import { userKey } from '../../domain/customers/import/map-row.ts'
import { isOwner, type User } from '../../domain/customers/user.ts'
import type { Run } from '../connect.ts'
import { CUSTOMER_ROW, toCustomer } from '../customers/customer-row.ts'
import { toUser, USER_ROW } from '../customers/user-row.ts'
import { textArrayLiteral } from '../encoding/array-literal.ts'

interface Loading {
  readonly run: Run
  readonly candidates: readonly Candidate[]
  readonly isHeld: boolean
  /** Customers that a rehearsal would have made by now, by external id. */
  readonly imagined: ReadonlyMap<string, CustomerStanding>
}

type Load<Part extends ImportPart> = (loading: Loading) => Promise<Standings[Part]>

export const LOAD_STANDINGS: { readonly [Part in ImportPart]: Load<Part> } = {
  customers: async (loading) => ({ customers: await loadCustomers(loading) }),
  users: async (loading) => {
    const customers = await loadCustomers(loading)
    return { customers: withImagined(customers, loading), ...(await loadUsers(loading.run, customers)) }
  },
  subscriptions: async (loading) => {
    const customers = await loadCustomers(loading)
    return {
      customers: withImagined(customers, loading),
      plans: await loadPlans(loading),
      subscriptions: await loadSubscriptions(loading.run, customers)
    }
  }
}

type Customers = ReadonlyMap<string, Customer>

async function loadCustomers({ run, candidates, isHeld }: Loading): Promise<Customers> {
  const externalIds = [...new Set(candidates.map(({ externalId }) => externalId))]
  const rows = await run({
    text: `select id, kind, status, legal_name, external_id, country, currency, time_zone, locale, tax_id, registration_number,
                  contract_reference, purchase_order_number, payment_terms_days, contacts, metadata, version,
                  (extract(epoch from created_at) * 1000)::double precision as created_at,
                  (extract(epoch from updated_at) * 1000)::double precision as updated_at
             from customer
            where external_id = any($1::text[])
            order by id
            ${isHeld ? 'for no key update' : ''}`,
    values: [textArrayLiteral(externalIds)]
  })
  const customers = rows.map((row) => toCustomer(CUSTOMER_ROW.parse(row)))
  return new Map(customers.map((customer) => [customer.externalId ?? '', customer]))
}

function withImagined(customers: Customers, { candidates, imagined }: Loading): ReadonlyMap<string, CustomerStanding> {
  if (imagined.size === 0) return customers
  const standing = new Map<string, CustomerStanding>(customers)
  for (const { externalId } of candidates) {
    const customer = imagined.get(externalId)
    if (customer !== undefined) standing.set(externalId, customer)
  }
  return standing
}

/** All users of the customers named: whether one is the last owner is a matter of all of them. */
async function loadUsers(run: Run, customers: Customers): Promise<Pick<Standings['users'], 'users' | 'owners'>> {
  const rows = await run({
    text: `select id, customer_id, email, name, role, status, version,
                  (extract(epoch from last_seen_at) * 1000)::double precision as last_seen_at,
                  (extract(epoch from created_at) * 1000)::double precision as created_at,
                  (extract(epoch from updated_at) * 1000)::double precision as updated_at
             from customer_user
            where customer_id = any($1::text[])
            order by id`,
    values: [idsOf(customers)]
  })
  const externalIds = new Map([...customers].map(([externalId, { id }]) => [id, externalId]))
  const users = new Map<string, User>()
  const owners = new Map<string, Set<string>>()
  for (const row of rows) {
    const user = toUser(USER_ROW.parse(row))
    users.set(userKey(externalIds.get(user.customerId) ?? '', user.email), user)
    if (isOwner(user)) owners.set(user.customerId, (owners.get(user.customerId) ?? new Set()).add(user.id))
  }
  return { users, owners }
}

interface PlanColumns {
  readonly id: string
  readonly code: string
  readonly version: number
  readonly status: PlanStanding['status']
  readonly currency: string
  readonly billing_interval: PlanStanding['interval']
  readonly only_for: PlanStanding['onlyFor']
}

/** What is no code of a plan at all is left out, and found to be none. */
const PLAN_CODE = /^[a-z0-9-]{1,64}$/

async function loadPlans({ run, candidates }: Loading): Promise<readonly PlanStanding[]> {
  const named = candidates.flatMap(({ fields: { planCode } }) => (typeof planCode === 'string' ? [planCode] : []))
  const codes = [...new Set(named)].filter((code) => PLAN_CODE.test(code))
  const rows = await run<PlanColumns>({
    text: `select id, code, version, status, currency, billing_interval, only_for
             from plan_version where code = any($1::text[])`,
    values: [textArrayLiteral(codes)]
  })
  return rows.map(({ billing_interval: interval, only_for: onlyFor, ...plan }) => ({ ...plan, interval, onlyFor }))
}

interface SubscriptionColumns {
  readonly customer_id: string
  readonly plan_id: string
  readonly anchor: string
  readonly status: SubscriptionStanding['status']
}

async function loadSubscriptions(
  run: Run,
  customers: Customers
): Promise<ReadonlyMap<string, readonly SubscriptionStanding[]>> {
  const rows = await run<SubscriptionColumns>({
    text: 'select customer_id, plan_id, anchor, status from subscription where customer_id = any($1::text[])',
    values: [idsOf(customers)]
  })
  const byCustomer = Map.groupBy(rows, ({ customer_id }) => customer_id)
  return new Map(
    [...byCustomer].map(([customerId, held]) => [
      customerId,
      held.map(({ plan_id: planId, anchor, status }) => ({ planId, anchor, status }))
    ])
  )
}

function idsOf(customers: Customers): string {
  return textArrayLiteral([...customers.values()].map(({ id }) => id))
}
