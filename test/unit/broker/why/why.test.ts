import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { WhyRequest, type Explanation } from '../../../../src/admin/api/resources.ts'
import { createWhy, type Why } from '../../../../src/broker/why/why.ts'
import { buildHandlers } from '../../../../src/hooks/build.ts'
import { AuthError, noOpinion, type Handler } from '../../../../src/hooks/types.ts'
import { createSilentLog } from '../../../../src/log.ts'
import { temporaryFolder } from '../../../support/broker-world.ts'
import {
  openInspectedBroker,
  type InspectedBroker,
  type InspectedBrokerOptions,
} from '../../../support/inspected-broker.ts'
import { subscribePacket } from '../../../support/wire.ts'

interface World extends InspectedBroker {
  readonly ask: (request: Partial<WhyRequest> & Pick<WhyRequest, 'action'>) => Promise<Explanation>
}

async function openWorld(options: InspectedBrokerOptions = {}): Promise<World> {
  const world = await openInspectedBroker(options)
  const { broker, config, admission, store, tunnels, profile } = world
  const why: Why = createWhy({
    config,
    admission,
    store,
    tunnels,
    connections: broker.connections,
    pod: () => 'p1',
    profiles: [profile],
    connectionOf: (id) => broker.sessions.connectionOf(id),
    storedOf: (id) => store.sessions.get(id),
    statusOf: (mountpoint, agent) => broker.statusOf(mountpoint, agent),
  })
  return { ...world, ask: (request) => why(WhyRequest.parse({ client: 'c1', ...request })) }
}

/** `by opinion` of each step, and what was decided. */
function outline({ steps, allowed }: Explanation): string {
  return [...steps.map(({ by, opinion }) => `${by} ${opinion}`), allowed ? 'yes' : 'no'].join(', ')
}

const acl = [
  '# of a house',
  'topic read public/#',
  'user bob',
  'topic write sensors/+/state',
  'topic deny sensors/secret/#',
  'topic read sensors/#',
  'topic write $tunnel/pi/ssh/#',
  'pattern readwrite own/%c/#',
  '',
].join('\n')

/** The built-in handlers as a configuration makes them. */
async function builtIn(types: readonly ('anonymous' | 'password-file' | 'acl-file')[]) {
  const folder = await temporaryFolder()
  const files = { 'password-file': join(folder, 'passwd'), 'acl-file': join(folder, 'acl') }
  await writeFile(files['acl-file'], acl)
  // Of mosquitto_passwd, for the password `secret`.
  await writeFile(
    files['password-file'],
    `# users\n\nbob:$7$101$${Buffer.alloc(12, 1).toString('base64')}$${Buffer.alloc(64, 2).toString('base64')}\n`,
  )
  const handlers = await buildHandlers(
    types.map((type) =>
      type === 'anonymous'
        ? { type, allow: true }
        : type === 'acl-file'
          ? { type, file: files[type], dialect: 'mosquitto' as const }
          : { type, file: files[type] },
    ),
    { log: createSilentLog(), mountpoint: '' },
  )
  return { handlers, files }
}

describe('why, with the built-in handlers', () => {
  it.each([
    ['publish', 'sensors/a/state', 'allowed', ':4: topic write sensors/+/state'],
    ['publish', 'sensors/secret/state', 'refused', ':5: topic deny sensors/secret/#'],
    ['publish', 'own/c1/x', 'allowed', ':8: pattern readwrite own/%c/#'],
    ['publish', 'own/c2/x', 'refused', ''],
    ['publish', 'public/x', 'refused', ''],
    ['subscribe', 'sensors/#', 'allowed', ':6: topic read sensors/#'],
    ['subscribe', 'sensors/secret/+', 'refused', ':5: topic deny sensors/secret/#'],
    ['subscribe', 'own/c1/#', 'allowed', ':8: pattern readwrite own/%c/#'],
    ['subscribe', '$share/g/sensors/a', 'allowed', ':6: topic read sensors/#'],
    ['subscribe', '#', 'refused', ''],
    ['open', 'pi/ssh', 'allowed', ':7: topic write $tunnel/pi/ssh/#'],
    ['open', 'pi/http', 'refused', ''],
  ] as const)('acl-file: bob, %s %s: %s by the rule%s', async (action, topic, opinion, rule) => {
    const { handlers, files } = await builtIn(['acl-file'])
    const { ask, reported } = await openWorld({ handlers })
    const answer = await ask({ action, topic, username: 'bob' })
    const said = answer.steps.find(({ by }) => by === 'acl-file')
    expect(said).toMatchObject({ opinion, rule: files['acl-file'] + rule })
    expect(said?.reason).toContain(rule === '' ? 'no rule for user "bob"' : 'the rule')
    // For open the agent is not there, too.
    expect(answer.allowed).toBe(opinion === 'allowed' && action !== 'open')
    expect(reported).toEqual([])
  })

  it('acl-file says what else is to be known: another access, an unknown user, patterns that are withheld, a remembered answer', async () => {
    const { handlers } = await builtIn(['acl-file'])
    const { ask, connect } = await openWorld({ handlers, allowAnonymous: true })
    const reason = async (request: Parameters<typeof ask>[0]): Promise<string> =>
      (await ask(request)).steps.find(({ by }) => by === 'acl-file')?.reason ?? ''
    expect(await reason({ action: 'publish', topic: 'public/x' })).toMatch(
      /without a username.*line 2 fits, but is for read/,
    )
    expect(await reason({ action: 'publish', topic: 'x', username: 'eve' })).toContain(
      'the file has no such user',
    )
    expect(await reason({ action: 'publish', topic: 'own/a/x', client: 'a/x' })).toContain(
      'patterns give nothing',
    )
    expect(await reason({ action: 'subscribe', topic: 'sensors/#', username: 'bob' })).toContain(
      'line 5 denies',
    )
    await connect({ clientId: 'c1' })
    const cached = async (): Promise<boolean | undefined> =>
      (await ask({ action: 'publish', topic: 'own/c1/a' })).steps.find(({ by }) => by === 'acl-file')
        ?.isCached
    expect([await cached(), await cached()]).toEqual([false, true])
  })

  it.each([
    ['bob', 'ban none, protocol none, limit none, anonymous none, password-file not asked, yes'],
    ['eve', 'ban none, protocol none, limit none, anonymous none, password-file none, chain refused, no'],
    [undefined, 'ban none, protocol none, limit none, anonymous allowed, password-file not asked, yes'],
  ])('connect: the user %s', async (username, expected) => {
    const { handlers, files } = await builtIn(['anonymous', 'password-file'])
    const { ask } = await openWorld({ handlers })
    const answer = await ask({ action: 'connect', ...(username !== undefined && { username }) })
    expect(outline(answer)).toBe(expected)
    // Line 3 is bob's.
    expect(JSON.stringify(answer).includes(`${files['password-file']}:3`)).toBe(username === 'bob')
    // Nothing of the hash.
    expect(JSON.stringify(answer)).not.toMatch(/\$7\$|AgIC|AQEB/)
  })
})

describe('why, before any handler', () => {
  it.each([
    ['a wildcard in a topic', { action: 'publish', topic: 'a/#' }, 'wildcard in a topic name'],
    ['no topic', { action: 'publish', topic: '' }, 'empty topic'],
    ['a long topic', { action: 'publish', topic: 'x'.repeat(5_000) }, 'longer than 4096 bytes'],
    ['$SYS', { action: 'publish', topic: '$SYS/broker/uptime' }, 'nobody publishes to $SYS'],
    ['$share as a topic', { action: 'publish', topic: '$share/g/a' }, 'nobody publishes to $share'],
    ['an illegal filter', { action: 'subscribe', topic: 'a/b#' }, "'#' not alone"],
    ['a group without a filter', { action: 'subscribe', topic: '$share/g' }, 'without a group or a filter'],
    [
      'somebody else’s frames',
      { action: 'publish', topic: '$tunnel/pi/ssh/other/up' },
      'not a topic on which',
    ],
    [
      'somebody else’s status',
      { action: 'publish', topic: '$tunnel/pi/status' },
      'the status of an agent is its own',
    ],
    ['the tunnels of others', { action: 'subscribe', topic: '$tunnel/#' }, 'not a filter of tunnels'],
    ['no destination', { action: 'open', topic: 'pi' }, 'not of the form <agent>/<service>'],
    [
      'a client that tunnels cannot name',
      { action: 'open', topic: 'pi/ssh', client: 'a/b' },
      'cannot be a name of tunnels',
    ],
    ['a name of the broker’s own', { action: 'connect', client: '$bridge/x' }, "are the broker's own"],
    ['a long client id', { action: 'connect', client: 'x'.repeat(300) }, 'client id of 300 bytes'],
  ] as const)('refuses %s, and asks no handler', async (_, request, reason) => {
    const asked: string[] = []
    const all: Handler = {
      name: 'all',
      authConnect: () => void asked.push('connect'),
      authPublish: () => void asked.push('publish'),
      authSubscribe: () => void asked.push('subscribe'),
      authTunnel: () => void asked.push('tunnel'),
    }
    const { ask } = await openWorld({ handlers: [all] })
    const { allowed, summary, steps } = await ask(request)
    expect({ allowed, summary }).toEqual({
      allowed: false,
      summary: expect.stringContaining(reason) as string,
    })
    expect(asked).toEqual([])
    expect(steps.filter(({ opinion }) => opinion === 'refused')).toHaveLength(1)
  })

  it('names the ban of an address, which ends no connection that is there', async () => {
    const { ask, connect, admission } = await openWorld()
    await connect({ clientId: 'c1' })
    admission.ban('192.0.2.1', 60_000)
    const live = await ask({ action: 'publish', topic: 'a' })
    expect(live.client).toMatchObject({ state: 'connected', address: '192.0.2.1', addressFrom: 'socket' })
    expect(outline(live)).toBe('ban none, protocol none, chain allowed, yes')
    expect(live.steps[0]?.reason).toContain('is banned')
    const other = await ask({ action: 'publish', topic: 'a', client: 'c2', address: '192.0.2.1' })
    expect(outline(other)).toBe('ban refused, protocol none, no')
  })

  it('names the limits that would refuse', async () => {
    const { ask, connect } = await openWorld({
      handlers: [{ name: 'own', authConnect: () => undefined }],
      config: {
        limits: { maxSubscriptionsPerClient: 1, maxConnectionsPerUser: 1, maxConnectionsPerAddress: 1 },
      },
    })
    const client = await connect({ clientId: 'c1', username: 'bob' })
    client.send(subscribePacket(1, [['a', 0]]))
    await client.answer()
    expect(outline(await ask({ action: 'subscribe', topic: 'a' }))).toContain('yes')
    const more = await ask({ action: 'subscribe', topic: 'b' })
    expect(more.steps.find(({ by }) => by === 'limit')).toMatchObject({
      opinion: 'refused',
      rule: 'limits.maxSubscriptionsPerClient: 1',
    })
    const second = await ask({ action: 'connect', client: 'c2', username: 'bob', address: '192.0.2.1' })
    expect(second.steps.filter(({ opinion }) => opinion === 'refused').map(({ rule }) => rule)).toEqual([
      'limits.maxConnectionsPerAddress: 1',
      'limits.maxConnectionsPerUser: 1',
    ])
  })
})

describe('why, with handlers of one’s own', () => {
  const secretive = (explain: Handler['explain']): Handler => ({
    name: 'own',
    authPublish: () => undefined,
    ...(explain && { explain }),
  })

  it('asks each in turn with the live session, counts nothing, and tells nobody', async () => {
    const seen: (string | undefined)[] = []
    const told: string[] = []
    const first: Handler = {
      name: 'first',
      authPublish: () => noOpinion,
      publish: () => void told.push('publish'),
    }
    const second: Handler = {
      name: 'second',
      authConnect: (session) => void session.attributes.set('role', 'admin'),
      authPublish(session) {
        seen.push(session.attributes.get('role') as string | undefined)
        throw new AuthError('not on a Sunday')
      },
    }
    const third: Handler = { name: 'third', authPublish: () => undefined }
    const { ask, connect, reported, counters, broker } = await openWorld({ handlers: [first, second, third] })
    await connect({ clientId: 'c1', username: 'bob' })
    const answer = await ask({ action: 'publish', topic: 'a' })
    expect(outline(answer)).toBe('ban none, protocol none, first none, second refused, third not asked, no')
    expect(answer.summary).toBe('"c1" may not publish to a. second: not on a Sunday.')
    expect(answer.client).toMatchObject({ username: 'bob', listener: 'test', state: 'connected' })
    expect((await ask({ action: 'publish', topic: 'a', client: 'gone' })).client.state).toBe('unknown')
    expect(seen).toEqual(['admin', undefined])
    expect([told, reported, counters.dropped.refused, broker.connections.size]).toEqual([[], [], 0, 1])
  })

  it('shows what was rewritten, lowered and refused', async () => {
    const handler: Handler = {
      name: 'own',
      authPublish(_, message) {
        message.topic = message.topic === 'bad' ? '$SYS/x' : `site/${message.topic}`
        message.retain = false
      },
      authSubscribe(_, [subscription]) {
        if (subscription?.topic === 'no') subscription.refused = 'not this one'
        else if (subscription !== undefined)
          Object.assign(subscription, { topic: `site/${subscription.topic}`, qos: 1 })
      },
    }
    const { ask } = await openWorld({ handlers: [handler] })
    expect((await ask({ action: 'publish', topic: 'a', qos: 1, retain: true })).effective).toEqual({
      topic: 'site/a',
      qos: 1,
      retain: false,
    })
    expect((await ask({ action: 'subscribe', topic: 'a', qos: 2 })).effective).toEqual({
      topic: 'site/a',
      qos: 1,
      retain: null,
    })
    expect((await ask({ action: 'subscribe', topic: 'no' })).summary).toContain('own: not this one')
    const bad = await ask({ action: 'publish', topic: 'bad' })
    expect(outline(bad)).toBe('ban none, protocol none, own failed, no')
    expect(bad.effective.topic).toBeNull()
  })

  it.each([
    [
      'throws',
      () => {
        throw new Error('broken')
      },
    ],
    ['rejects', () => Promise.reject(new Error('broken'))],
    ['returns nonsense', () => 'nonsense'],
    ['returns secrets of the wrong kind', () => ({ rule: { toString: () => 'x' }, reason: 5 })],
    [
      'has a getter that throws',
      () =>
        Object.defineProperty({}, 'rule', {
          get() {
            throw new Error('broken')
          },
        }),
    ],
  ] as [string, () => unknown][])('survives an explain that %s', async (_, explain) => {
    const { ask } = await openWorld({ handlers: [secretive(explain as Handler['explain'])] })
    const answer = await ask({ action: 'publish', topic: 'a' })
    expect(answer.steps.at(-1)).toEqual({
      by: 'own',
      opinion: 'allowed',
      rule: null,
      reason: null,
      isCached: false,
    })
  })

  it('says which handler failed, or did not answer in time', async () => {
    const slow: Handler = { name: 'slow', authPublish: () => new Promise(() => undefined) }
    const broken: Handler = {
      name: 'broken',
      authPublish: () => {
        throw new TypeError('x is not a function')
      },
    }
    const config = { auth: { timeoutMs: 20 } }
    const late = await (
      await openWorld({ handlers: [slow, broken], config })
    ).ask({ action: 'publish', topic: 'a' })
    expect(outline(late)).toBe('ban none, protocol none, slow failed, broken not asked, no')
    const wrong = await (await openWorld({ handlers: [broken] })).ask({ action: 'publish', topic: 'a' })
    expect(wrong.summary).toContain('broken: it failed: x is not a function')
  })

  it('connect: never calls authConnect, which may count guesses', async () => {
    let isAsked = false
    const own: Handler = {
      name: 'own',
      authConnect: () => {
        isAsked = true
      },
    }
    const { ask } = await openWorld({ handlers: [own] })
    const answer = await ask({ action: 'connect', username: 'bob' })
    expect(answer.summary).toContain('may connect if own accepts it')
    expect([answer.allowed, isAsked]).toEqual([true, false])
  })
})

describe('why, for tunnels', () => {
  it('opens with authTunnel, and looks whether the agent is there', async () => {
    const asked: string[] = []
    const handler: Handler = {
      name: 'own',
      authTunnel: (_, { action, agent, service, topic }) =>
        void asked.push(`${action} ${agent}/${service} ${topic}`),
    }
    const { ask, connect } = await openWorld({ handlers: [handler], allowAnonymous: true })
    const away = await ask({ action: 'open', topic: 'pi/ssh' })
    expect(outline(away)).toBe('ban none, own allowed, agent refused, limit none, no')
    expect(away.summary).toContain('agent pi is not connected, and never was')
    const agent = await connect({ clientId: 'pi' })
    agent.send(subscribePacket(1, [['$tunnel/pi/+/+/up', 0]]))
    await agent.answer()
    asked.length = 0
    expect((await ask({ action: 'open', topic: 'pi/ssh' })).allowed).toBe(true)
    // A frame is as good as the right to open its stream.
    expect((await ask({ action: 'publish', topic: '$tunnel/pi/ssh/c1/up' })).allowed).toBe(true)
    expect((await ask({ action: 'subscribe', topic: '$tunnel/c1/+/+/up' })).allowed).toBe(true)
    expect(asked).toEqual([
      'open pi/ssh $tunnel/pi/ssh/c1/up',
      'open pi/ssh $tunnel/pi/ssh/c1/up',
      'serve c1/+ $tunnel/c1/+/+/up',
    ])
    const off = await openWorld({ config: { tunnel: { enabled: false } } })
    expect((await off.ask({ action: 'open', topic: 'pi/ssh' })).summary).toContain('tunnel.enabled: false')
  })
})

describe('why, of whom', () => {
  it('finds the stored session, and refuses a listener or a mountpoint that is not there', async () => {
    const { ask, connect, store } = await openWorld({ mountpoint: 'site/' })
    const client = await connect({ clientId: 'c1', clean: false })
    client.lose()
    await expect.poll(() => store.sessions.size).toBe(1)
    expect((await ask({ action: 'publish', topic: 'a', mountpoint: 'site/' })).client.state).toBe('offline')
    await expect(ask({ action: 'publish', topic: 'a' })).rejects.toMatchObject({ code: 'TMQ_USAGE' })
    await expect(
      ask({ action: 'publish', topic: 'a', mountpoint: 'site/', listener: 'other' }),
    ).rejects.toMatchObject({
      message: 'listener: there is no "other" with this mountpoint; there are: test',
    })
  })

  it('explains so many at once, and no more', async () => {
    let answer: (() => void) | undefined
    const held = new Promise<void>((resolve) => (answer = resolve))
    const { ask } = await openWorld({ handlers: [{ name: 'slow', authPublish: () => held }] })
    const all = Array.from({ length: 16 }, () => ask({ action: 'publish', topic: 'a' }))
    await expect(ask({ action: 'publish', topic: 'a' })).rejects.toMatchObject({ code: 'TMQ_LIMIT' })
    answer?.()
    expect((await Promise.all(all)).every(({ allowed }) => allowed)).toBe(true)
  })
})
