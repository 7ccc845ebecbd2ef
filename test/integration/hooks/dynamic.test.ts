import mqtt, { type IClientOptions, type MqttClient } from 'mqtt'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest'
import type { IdentityRequest, RoleRule } from '../../../src/admin/api/identity-resources.ts'
import type { Operations } from '../../../src/admin/operations.ts'
import { noOpinion } from '../../../src/hooks/types.ts'
import { startTestBroker, type TestBroker } from '../../support/broker.ts'

let folder: string
let broker: TestBroker
let api: Operations

const start = (): Promise<TestBroker> =>
  startTestBroker(
    {
      listeners: [
        { type: 'tcp', port: 0 },
        { type: 'tcp', name: 'open', port: 0, allowAnonymous: true },
        { type: 'http', port: 0 },
      ],
      handlers: [{ type: 'dynamic' }],
      store: { type: 'embedded', path: join(folder, 'store') },
      identities: { maxIdentities: 12, maxKeysEach: 2 },
    },
    // Asked before it, as a password file would be.
    {
      handlers: [
        { authConnect: ({ password }) => (password?.toString() === 'of a file' ? undefined : noOpinion) },
      ],
    },
  )

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'tmq-dynamic-'))
  broker = await start()
  api = broker.operations
})
afterAll(async () => {
  await broker.stop()
  await rm(folder, { recursive: true, force: true })
})

const allow = (on: string, ...actions: RoleRule['actions']): RoleRule => ({ allow: true, actions, on })

/** With these rules in a role of its own, and gone with the test. */
async function make(
  request: Partial<IdentityRequest> & { name: string },
  ...rules: RoleRule[]
): Promise<string> {
  const { name } = request
  await api.putRole(name, { description: '', rules })
  const rest = { description: '', isEnabled: true, clientId: null, groups: [], roles: [name] }
  await api.createIdentity({ ...rest, ...request })
  onTestFinished(async () => {
    await api.deleteIdentity(name)
    await api.deleteRole(name)
  })
  return name
}

async function come(username: string, password: string, more: IClientOptions = {}) {
  const client = await mqtt.connectAsync(broker.url, { reconnectPeriod: 0, username, password, ...more })
  onTestFinished(() => client.endAsync(true))
  return client
}

const codeOf = (username: string, password: string, more: IClientOptions = {}): Promise<unknown> =>
  come(username, password, more).then(
    () => 0,
    (error: unknown) => (error as { code?: unknown }).code,
  )

const gone = (client: MqttClient): Promise<unknown> =>
  new Promise((resolve) => client.once('close', () => resolve(undefined)))

describe('the dynamic handler', () => {
  it('lets in by password and by key, and refuses everything else', async () => {
    const name = await make({ name: 'pi7', password: 'correct horse' })
    const key = (await api.createIdentityKey(name, { description: '', expiresAt: null }))!
    expect(await codeOf(name, 'correct horse')).toBe(0)
    expect(await codeOf(name, key.secret)).toBe(0)
    expect(await codeOf(name, 'wrong horse')).toBe(4)
    expect(await codeOf(name, `${key.secret.slice(0, -1)}!`)).toBe(4)
    expect(await codeOf('nobody', 'correct horse')).toBe(4)
    await make({ name: 'other' })
    expect(await codeOf('other', key.secret)).toBe(4)
    await api.changeIdentity(name, { isEnabled: false })
    expect(await codeOf(name, 'correct horse')).toBe(5)
    expect(await codeOf(name, 'wrong horse')).toBe(4)
  })

  it('keeps a client id for the identity that it is bound to', async () => {
    await make({ name: 'bound', password: 'correct horse', clientId: 'device-1' })
    await make({ name: 'rival', password: 'correct horse' })
    expect(await codeOf('bound', 'correct horse', { clientId: 'device-1' })).toBe(0)
    expect(await codeOf('bound', 'correct horse', { clientId: 'device-2' })).toBe(2)
    expect(await codeOf('rival', 'correct horse', { clientId: 'device-1' })).toBe(2)
    const another = { name: 'rival2', description: '', isEnabled: true, clientId: 'device-1' }
    await expect(api.createIdentity({ ...another, groups: [], roles: [] })).rejects.toMatchObject({
      code: 'TMQ_EXISTS',
      message: expect.stringContaining('"bound"') as string,
    })
    // One that was there before it was bound is cut.
    const early = await come('rival', 'correct horse', { clientId: 'device-3' })
    const cut = gone(early)
    await api.changeIdentity('bound', { clientId: 'device-3' })
    await cut
  })

  it('has the last word on whom another handler or allowAnonymous lets in', async () => {
    await make({ name: 'mine', password: 'correct horse', clientId: 'device-4' })
    await make({ name: 'off', isEnabled: false })
    const device = await come('mine', 'correct horse', { clientId: 'device-4' })
    expect(await codeOf('eve', 'of a file')).toBe(0)
    expect(await codeOf('eve', 'of a file', { clientId: 'device-4' })).toBe(2)
    expect(await codeOf('off', 'of a file')).toBe(5)
    const open = broker.listeners.find(({ name }) => name === 'open')!.url
    const anonymous = (clientId: string) => mqtt.connectAsync(open, { reconnectPeriod: 0, clientId })
    await expect(anonymous('device-4')).rejects.toMatchObject({ code: 2 })
    await (await anonymous('device-5')).endAsync()
    expect(device.connected).toBe(true)
  })

  it('takes a key without a user name: as a bearer token, and with the empty one of MQTT 3.1.1', async () => {
    const name = await make({ name: 'ci' }, allow('d/#', 'publish'))
    const { secret } = (await api.createIdentityKey(name, { description: '', expiresAt: null }))!
    expect(await codeOf('', secret)).toBe(0)
    const url = broker.listeners.find((listener) => listener.url.startsWith('http'))!.url
    const post = (token: string) =>
      fetch(new URL('d/x', url.endsWith('/') ? url : `${url}/`), {
        method: 'POST',
        headers: { authorization: `Bearer ${token}` },
        body: 'x',
      })
    expect((await post(secret)).status).toBeLessThan(300)
    expect((await post(`${secret.slice(0, -1)}!`)).status).toBe(401)
  })

  it('decides on topics by the first rule that fits, of its own roles and then of its groups', async () => {
    const denied: RoleRule = { allow: false, actions: ['subscribe'], on: 'd/+/secret' }
    const name = await make({ name: 'dev', password: 'correct horse' }, denied, allow('d/%u/#', 'publish'))
    await api.putRole('reader', { description: '', rules: [allow('d/#', 'subscribe')] })
    await api.putGroup('readers', { description: '', roles: ['reader'] })
    onTestFinished(async () => {
      await api.deleteGroup('readers')
      await api.deleteRole('reader')
    })
    const client = await come(name, 'correct horse')
    expect(await client.subscribeAsync('d/#', { qos: 1 }).catch(() => 'refused')).toBe('refused')
    await api.changeIdentity(name, { groups: ['readers'] })
    expect(await client.subscribeAsync('d/#', { qos: 1 })).toMatchObject([{ qos: 1 }])
    expect(await client.subscribeAsync('#').catch(() => 'refused')).toBe('refused')
    const got: string[] = []
    client.on('message', (topic) => got.push(topic))
    const ended = new Promise((resolve) => client.on('message', (topic) => topic === 'd/end' && resolve(0)))
    for (const topic of ['d/dev/1', 'd/dev/secret', 'd/other/2'])
      await client.publishAsync(topic, 'x', { qos: 1 })
    await broker.publish({ topic: 'd/end', payload: Buffer.from('x'), qos: 1 })
    await ended
    expect(got).toEqual(['d/dev/1', 'd/end'])
    expect(await api.why({ ...question, client: 'x', username: name, topic: 'd/dev/1' })).toMatchObject({
      allowed: true,
      steps: expect.arrayContaining([
        expect.objectContaining({ by: 'dynamic', rule: 'role "dev", rule 2: allow publish on d/%u/#' }),
      ]) as unknown,
    })
    // A right that is gone takes the subscription with it.
    await api.changeIdentity(name, { groups: [] })
    await expect
      .poll(async () => (await api.client({ id: client.options.clientId!, mountpoint: '' }))?.subscriptions)
      .toBe(0)
    expect(client.connected).toBe(true)
  })

  it('cuts who came in with a password or key that is gone or was changed, and nobody else', async () => {
    const name = await make({ name: 'cut', password: 'correct horse' })
    const make1 = () => api.createIdentityKey(name, { description: '', expiresAt: null })
    const [one, two] = [(await make1())!, (await make1())!]
    await expect(make1()).rejects.toMatchObject({ code: 'TMQ_EXISTS' })
    const byOne = await come(name, one.secret)
    const byTwo = await come(name, two.secret)
    const byPassword = await come(name, 'correct horse')
    const closed: string[] = []
    for (const [who, client] of Object.entries({ byOne, byTwo, byPassword }))
      client.on('close', () => closed.push(who))
    const cut = gone(byOne)
    await api.deleteIdentityKey(name, one.id)
    await cut
    const cutToo = gone(byPassword)
    const { password } = (await api.setIdentityPassword(name, {}))!
    await cutToo
    expect(closed).toEqual(['byOne', 'byPassword'])
    expect(await codeOf(name, password!)).toBe(0)
    expect(byTwo.connected).toBe(true)
    const last = gone(byTwo)
    await api.changeIdentity(name, { isEnabled: false })
    await last
  })

  it('keeps bounds, and names that are in use', async () => {
    await make({ name: 'user' })
    await expect(api.deleteRole('user')).rejects.toMatchObject({
      code: 'TMQ_EXISTS',
      message: 'The role "user" is in use: identity "user"',
    })
    await expect(api.changeIdentity('user', { roles: ['none'] })).rejects.toMatchObject({
      code: 'TMQ_USAGE',
      message: 'roles.0: there is no role "none"',
    })
    const rest = { description: '', isEnabled: true, clientId: null, groups: [], roles: [] }
    const made = Array.from({ length: 11 }, (_, at) => api.createIdentity({ ...rest, name: `n${at}` }))
    await Promise.all(made)
    await expect(api.createIdentity({ ...rest, name: 'more' })).rejects.toThrow('identities.maxIdentities')
    const page = await api.identities({ state: 'all', limit: 5 })
    const next = await api.identities({ state: 'all', limit: 100, after: page.next! })
    const names = [...page.items, ...next.items].map(({ name }) => name)
    expect(names).toEqual(['n0', 'n1', 'n10', 'n2', 'n3', 'n4', 'n5', 'n6', 'n7', 'n8', 'n9', 'user'])
    expect([page.total, next.next]).toEqual([12, null])
    for (let at = 0; at < 11; at++) await api.deleteIdentity(`n${at}`)
  })

  it('knows everything after a restart, and says so when it is not in force', async () => {
    const rest = { description: '', isEnabled: true, clientId: null, groups: [], roles: [] }
    await api.createIdentity({ ...rest, name: 'stays', password: 'correct horse' })
    const before = await api.identity('stays')
    await broker.stop()
    broker = await start()
    api = broker.operations
    expect(await api.identity('stays')).toEqual(before)
    expect(await codeOf('stays', 'correct horse')).toBe(0)
    expect(await api.deleteIdentity('stays', before!.revision)).toBe(true)
    const other = await startTestBroker()
    onTestFinished(() => other.stop())
    expect((await other.operations.identities({ state: 'all', limit: 1 })).warning).toContain('type: dynamic')
  })
})

const question = { action: 'publish', mountpoint: '', qos: 0, retain: false } as const
