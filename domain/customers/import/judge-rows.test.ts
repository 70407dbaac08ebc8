import t from 'tap'
import { customerOf } from '../../../test/plans-and-customers.ts'
import type { Candidate } from './customer-import.ts'
import { judgeCustomer } from './judge-rows.ts'

const FRESH = { id: 'fresh', now: 1_000 }
const BEFORE = customerOf({ externalId: 'crm-1' })

function rowOf(fields: Candidate['fields']): Candidate {
  const source = { row: 1, line: 2, key: 'crm-1', values: {}, fault: null }
  return { source, externalId: 'crm-1', key: 'crm-1', fields: { externalId: 'crm-1', ...fields } }
}

t.test('a customer that comes again keeps its currency: plans and invoices are in it', async (t) => {
  t.match(judgeCustomer(rowOf({ currency: 'XOF' }), BEFORE, FRESH), {
    outcome: 'refused',
    faults: [{ field: 'currency', message: /EUR/ }]
  })
  t.match(judgeCustomer(rowOf({ currency: 'EUR', legalName: 'Clinique du Lac SA' }), BEFORE, FRESH), {
    outcome: 'updated'
  })
})
