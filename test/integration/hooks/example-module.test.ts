import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { buildHandlers } from '../../../src/hooks/build.ts'
import { createChain } from '../../../src/hooks/chain.ts'
import { createGuard, type Guard } from '../../../src/hooks/guard.ts'
import { fakeLog, fakeMessage, fakeSession, fakeSubscriptions } from '../../unit/hooks/fakes.ts'

let guard: Guard
let printed: string[]
beforeEach(async () => {
  printed = []
  vi.spyOn(console, 'log').mockImplementation((line: string) => void printed.push(line))
  const handlers = await buildHandlers(
    [{ type: 'module', file: 'config/handler.example.js', options: { tenants: { acme: 's3cret' } } }],
    { log: fakeLog(), mountpoint: '' },
  )
  guard = createGuard(createChain(handlers), {
    timeoutMs: 1_000,
    maxConcurrent: 10,
    onFailure: ({ cause }) => {
      throw cause
    },
  })
})
afterEach(() => {
  vi.restoreAllMocks()
})

describe('config/handler.example.js', () => {
  it('admits a tenant to its own topics only', () => {
    const session = fakeSession({ username: 'acme', password: 's3cret' })
    expect(guard.authConnect(session)).toEqual({ allowed: true, handler: 'tenants' })
    guard.connect(session)
    const subscriptions = fakeSubscriptions('acme/#', 'other/#', '#')
    expect(guard.authSubscribe(session, subscriptions)).toMatchObject({ allowed: true })
    expect(subscriptions.map(({ refused }) => refused)).toEqual([
      undefined,
      'filter of another tenant',
      'filter of another tenant',
    ])
    guard.subscribe(session, subscriptions.slice(0, 1))
    expect(guard.authPublish(session, fakeMessage('acme/a'))).toMatchObject({ allowed: true })
    expect(guard.authPublish(session, fakeMessage('other/a'))).toMatchObject({ allowed: false })
    expect(guard.authDeliver(session, fakeMessage('acme/a'))).toBe(true)
    expect(guard.authDeliver(session, fakeMessage('acme/private'))).toBe(false)
    guard.disconnect(session, { kind: 'client' })
    expect(printed).toEqual([
      'acme connected from 192.0.2.1',
      'acme subscribed to acme/#',
      'acme disconnected: client',
    ])
  })

  it('refuses a wrong secret, unknown tenants and clients without a name', () => {
    const connect = (username?: string, password?: string) =>
      guard.authConnect(
        fakeSession({ ...(username && { username }), ...(password === undefined ? {} : { password }) }),
      )
    expect(connect('acme', 'guess!')).toMatchObject({ allowed: false, refuse: 'bad-credentials' })
    expect(connect('acme')).toMatchObject({ allowed: false, refuse: 'bad-credentials' })
    expect(connect('nobody', 's3cret')).toMatchObject({ allowed: false, refuse: 'bad-credentials' })
    expect(connect()).toMatchObject({ allowed: false, refuse: 'not-authorized' })
  })
})

describe('config/acl.example', () => {
  it('is an access list that can be used', async () => {
    const [acl] = await buildHandlers(
      [{ type: 'acl-file', file: 'config/acl.example', dialect: 'mosquitto' }],
      {
        log: fakeLog(),
        mountpoint: '',
      },
    )
    const chain = createChain([acl!])
    const device = fakeSession({ id: 'd1', username: 'device' })
    expect(chain.authPublish(device, fakeMessage('devices/d1/temperature'))).toMatchObject({ allowed: true })
    expect(chain.authPublish(device, fakeMessage('devices/d2/temperature'))).toMatchObject({ allowed: false })
    const dashboard = fakeSession({ username: 'dashboard' })
    expect(chain.authDeliver(dashboard, fakeMessage('devices/d1/secrets/key'), vi.fn())).toBe(false)
    await acl?.close?.()
  })
})
