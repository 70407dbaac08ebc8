import Type from 'typebox'
import type { PaymentProvider } from '../../domain/billing/payments/payment-provider.ts'
import type { PaymentAccountStore } from '../../domain/billing/payments/payment-store.ts'
import type { CustomerStore } from '../../domain/customers/customer-store.ts'
import type { Api } from '../api-dependencies.ts'
import { changeOf, reachOf } from '../changes/change-of.ts'
import { ProblemError } from '../problem.ts'
import { unknownCustomer } from '../routes/quota.ts'
import * as schemas from '../schemas/shared.ts'
import { ACCOUNT_EXAMPLE, AccountBody, AccountTold, tellAccount } from './payment-schemas.ts'
import { READ_PAYMENTS, WRITE_PAYMENTS } from './payments.ts'
import { unknownProvider } from './refunds.ts'

interface AccountDependencies {
  readonly paymentAccountStore: PaymentAccountStore
  readonly paymentProvider: Pick<PaymentProvider, 'name'> | null
  readonly customerStore: Pick<CustomerStore, 'find'>
  readonly now: () => number
}

const PATH = '/v1/customers/:customerId/payment-account'
const CustomerPath = Type.Object({ customerId: schemas.CustomerId }, schemas.strict)

export function paymentAccountRoutes(api: Api, dependencies: AccountDependencies): void {
  putRoute(api, dependencies)
  getRoute(api, dependencies)
  removeRoute(api, dependencies)
}

function putRoute(api: Api, { paymentAccountStore, paymentProvider, now }: AccountDependencies): void {
  api.put(
    PATH,
    {
      config: { access: WRITE_PAYMENTS },
      schema: {
        operationId: 'putPaymentAccount',
        tags: ['payments'],
        summary: 'Say how a customer pays through a provider',
        description:
          'In the place of the account before. What is due is charged to it within a minute, as if nothing had been tried before. The same account again changes nothing.',
        params: CustomerPath,
        body: AccountBody,
        response: {
          200: schemas.answer(AccountTold, 'The account.', ACCOUNT_EXAMPLE),
          ...schemas.problems(
            'malformed-json',
            'unsupported-media-type',
            'validation-failed',
            'unknown-customer',
            'unknown-provider',
            'service-unavailable'
          )
        }
      }
    },
    async (request) => {
      const { customerId } = request.params
      const { provider } = request.body
      if (paymentProvider?.name !== provider) throw unknownProvider(provider)
      const before = await paymentAccountStore.find(reachOf(request), customerId)
      const account = { customerId, ...request.body, updatedAt: now() }
      const told = tellAccount(account)
      const change = changeOf(request, {
        ...subjectOf(customerId),
        action: 'payment_account.put',
        before: before === null ? null : tellAccount(before),
        after: told,
        at: account.updatedAt
      })
      const outcome = await paymentAccountStore.put(account, change)
      if (outcome === 'unknown-customer') throw unknownCustomer(customerId)
      return outcome === 'unchanged' && before !== null ? tellAccount(before) : told
    }
  )
}

function getRoute(api: Api, { paymentAccountStore }: AccountDependencies): void {
  api.get(
    PATH,
    {
      config: { access: READ_PAYMENTS },
      schema: {
        operationId: 'getPaymentAccount',
        tags: ['payments'],
        summary: 'How a customer pays through a provider',
        description: 'Whoever has no account pays by hand.',
        params: CustomerPath,
        response: {
          200: schemas.answer(AccountTold, 'The account.', ACCOUNT_EXAMPLE),
          ...schemas.problems('validation-failed', 'unknown-customer', 'no-payment-account', 'service-unavailable')
        }
      }
    },
    async (request) => {
      const { customerId } = request.params
      const account = await paymentAccountStore.find(reachOf(request), customerId)
      if (account === null) throw new ProblemError('no-payment-account', `${customerId} pays by hand.`)
      return tellAccount(account)
    }
  )
}

function removeRoute(api: Api, dependencies: AccountDependencies): void {
  const { paymentAccountStore, customerStore, now } = dependencies
  api.delete(
    PATH,
    {
      config: { access: WRITE_PAYMENTS },
      schema: {
        operationId: 'removePaymentAccount',
        tags: ['payments'],
        summary: 'Let a customer pay by hand',
        description:
          'What is due is asked for by reminders from now on, as if nobody had been reminded before. A charge that is under way goes on.',
        params: CustomerPath,
        response: {
          204: Type.Null({ description: 'There is no account, or no longer.' }),
          ...schemas.problems('validation-failed', 'unknown-customer', 'service-unavailable')
        }
      }
    },
    async (request, reply) => {
      const { customerId } = request.params
      const reach = reachOf(request)
      if ((await customerStore.find(reach, customerId)) === null) throw unknownCustomer(customerId)
      const before = await paymentAccountStore.find(reach, customerId)
      if (before !== null) {
        const at = now()
        const told = { ...subjectOf(customerId), before: tellAccount(before), after: null, at }
        await paymentAccountStore.remove(
          customerId,
          at,
          changeOf(request, { ...told, action: 'payment_account.removed' })
        )
      }
      return reply.code(204).send(null)
    }
  )
}

function subjectOf(customerId: string) {
  return { customerId, entity: { kind: 'payment-account', id: customerId } }
}
