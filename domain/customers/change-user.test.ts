import fc from 'fast-check'
import t from 'tap'
import { changeUser, eraseUser, inviteUser, moveUser, type NewUser } from './change-user.ts'
import { isOwner, type User } from './user.ts'

const seed = Number(process.env.SEED ?? Date.now() % 2 ** 31)
t.comment(`SEED=${seed}`)

const AT = { id: 'u', customerId: 'c', now: 1_000 }

function invited(input: NewUser): User {
  const stated = inviteUser(input, AT)
  if ('next' in stated) return stated.next
  throw new Error(JSON.stringify(stated.faults))
}

function faultsOf(input: unknown): string[] {
  const stated = inviteUser(input as NewUser, AT)
  return 'faults' in stated ? stated.faults.map(({ field }) => field) : []
}

t.test('a user is invited under an address in lower case', async (t) => {
  t.same(invited({ email: 'Amina@Clinic.Example', role: 'owner' }), {
    id: 'u',
    customerId: 'c',
    email: 'amina@clinic.example',
    name: null,
    role: 'owner',
    status: 'invited',
    lastSeenAt: null,
    version: 1,
    createdAt: 1_000,
    updatedAt: 1_000
  })
})

t.test('every fault names its field', async (t) => {
  const sound = { email: 'a@b', role: 'viewer' }
  t.same(faultsOf(sound), [])
  t.same(faultsOf({ ...sound, email: 'a b@c' }), ['email'])
  t.same(faultsOf({ ...sound, email: `${'a'.repeat(253)}@b` }), ['email'])
  t.same(faultsOf({ ...sound, role: 'king' }), ['role'])
  t.same(faultsOf({ ...sound, name: '' }), ['name'])
  t.same(faultsOf({ ...sound, status: 'active' }), ['status'])
  t.same(faultsOf({}), ['role', 'email'])
  for (const body of [null, 7, []]) t.same(faultsOf(body), [''])
})

t.test('a change replaces role and name, one version higher; an address stays', async (t) => {
  const user = invited({ email: 'a@b', role: 'viewer', name: 'A' })
  t.same(changeUser(user, { role: 'admin' }, 2_000), { next: { ...user, role: 'admin', version: 2, updatedAt: 2_000 } })
  t.match(changeUser(user, { name: null }, 2_000), { next: { name: null, role: 'viewer' } })
  const patch: object = { email: 'c@d' }
  t.match(changeUser(user, patch, 2_000), { faults: [{ field: 'email' }] })
})

t.test('a user is let in from any other status, and disabled from any but disabled', async () => {
  const steps = fc.array(fc.constantFrom('activate' as const, 'disable' as const), { maxLength: 8 })
  fc.assert(
    fc.property(steps, (path) => {
      let user = invited({ email: 'a@b', role: 'owner' })
      for (const step of path) {
        const to = step === 'activate' ? 'active' : 'disabled'
        const moved = moveUser(user, step, 2_000)
        if ('refused' in moved !== (user.status === to)) return false
        if ('next' in moved) {
          if (moved.next.status !== to || moved.next.version !== user.version + 1) return false
          user = moved.next
        }
      }
      return isOwner(user) === (user.status !== 'disabled')
    }),
    { seed }
  )
})

t.test('a disabled user is erased to a placeholder, and nothing makes a person of it again', async (t) => {
  const user = { ...invited({ email: 'a@b', role: 'viewer', name: 'A' }), lastSeenAt: 1_500, version: 4 }
  for (const status of ['invited', 'active'] as const)
    t.match(eraseUser({ ...user, status }, 2_000), { refused: /disabled/ })
  const erased: User = {
    ...user,
    status: 'disabled',
    email: 'erased-u@erased.invalid',
    name: null,
    version: 5,
    updatedAt: 2_000
  }
  t.same(eraseUser({ ...user, status: 'disabled' }, 2_000), { next: erased })
  t.match(moveUser(erased, 'activate', 3_000), { refused: /erased/ })
  t.match(changeUser(erased, { name: 'A' }, 3_000), { faults: [{ field: 'name' }] })
  t.match(changeUser(erased, { role: 'admin' }, 3_000), { next: { role: 'admin', name: null } })
  t.same(faultsOf({ email: 'Erased-U@Erased.Invalid', role: 'viewer' }), ['email'])
})
