import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { createAclFileHandler } from '../../../src/hooks/acl-file.ts'
import { createChain } from '../../../src/hooks/chain.ts'
import { PendingDecision, type Decision } from '../../../src/hooks/decision.ts'
import { tunnelRight } from '../../../src/hooks/tunnel-right.ts'
import {
  AuthError,
  noOpinion,
  type Handler,
  type TunnelRequest,
  type Verdict,
} from '../../../src/hooks/types.ts'
import { temporaryFolder } from '../../support/broker-world.ts'
import { fakeLog, fakeSession } from './fakes.ts'

const open: TunnelRequest = {
  action: 'open',
  agent: 'pi7',
  service: 'ssh',
  topic: '$tunnel/pi7/ssh/laptop/up',
}
const serve: TunnelRequest = { action: 'serve', agent: 'pi7', service: '+', topic: '$tunnel/pi7/+/+/up' }

async function ask(handlers: readonly Handler[], request: TunnelRequest): Promise<Decision> {
  const answer = createChain(handlers).authTunnel(fakeSession({ id: 'laptop', username: 'ann' }), request)
  return answer instanceof PendingDecision ? answer.promise : answer
}

const verdict = async (handlers: readonly Handler[], request: TunnelRequest): Promise<string> => {
  const { allowed, handler, reason } = await ask(handlers, request)
  return `${handler} ${allowed ? 'allows' : `refuses: ${reason}`}`
}

describe('the right to a tunnel', () => {
  it('is what authTunnel says, and then topics are not asked for', async () => {
    const asked: unknown[] = []
    const own: Handler = {
      name: 'own',
      authTunnel: (_session, tunnel) => void asked.push(tunnel),
      authPublish: () => {
        throw new Error('was asked')
      },
      authSubscribe: () => {
        throw new Error('was asked')
      },
    }
    expect(await verdict([own], open)).toBe('own allows')
    expect(await verdict([own], serve)).toBe('own allows')
    expect(asked).toEqual([open, serve])
  })

  it('to open is else that to publish to the topic of the client', async () => {
    const seen: unknown[] = []
    const acl: Handler = {
      name: 'acl',
      authPublish(_session, message) {
        seen.push({ ...message })
        if (message.topic.includes('/web/')) throw new AuthError('not the web')
      },
      authSubscribe: () => {
        throw new Error('was asked')
      },
    }
    expect(await verdict([acl], open)).toBe('acl allows')
    expect(seen).toEqual([
      { topic: open.topic, payload: Buffer.alloc(0), retain: false, qos: 0, dup: false, isWill: false },
    ])
    expect(await verdict([acl], { ...open, topic: '$tunnel/pi7/web/laptop/up' })).toBe(
      'acl refuses: not the web',
    )
  })

  it('to serve is else that to subscribe to the topics of the agent', async () => {
    const acl: Handler = {
      name: 'acl',
      authSubscribe(_session, subscriptions) {
        for (const one of subscriptions)
          if (one.topic !== '$tunnel/pi7/+/+/up') one.refused = 'not this agent'
      },
      authPublish: () => {
        throw new Error('was asked')
      },
    }
    expect(await verdict([acl], serve)).toBe('acl allows')
    expect(await verdict([acl], { ...serve, topic: '$tunnel/pi8/+/+/up' })).toBe(
      'acl refuses: not this agent',
    )
  })

  type Refuse = (one: { refused?: boolean | string }) => Verdict
  it.each<[string, Refuse, string]>([
    ['true', (one) => void (one.refused = true), 'refused'],
    [
      'with no opinion otherwise',
      (one) => {
        one.refused = 'no'
        return noOpinion
      },
      'no',
    ],
    [
      'later',
      async (one) => {
        await Promise.resolve()
        one.refused = 'late'
      },
      'late',
    ],
  ])('to serve is refused by refusing the filter: %s', async (_title, refuse, reason) => {
    const handler: Handler = { name: 'h', authSubscribe: (_session, [one]) => refuse(one!) }
    expect(await verdict([handler, { authSubscribe: () => undefined }], serve)).toBe(`h refuses: ${reason}`)
  })

  it('is refused by a handler that rewrites the topic: there is no other tunnel', async () => {
    const prefixing: Handler = {
      name: 'prefixing',
      authPublish: (_session, message) => void (message.topic = `a/${message.topic}`),
      async authSubscribe(_session, [one]) {
        await Promise.resolve()
        one!.topic = `a/${one!.topic}`
      },
    }
    const reason = 'prefixing refuses: the handler rewrote the topic of the tunnel'
    expect(await verdict([prefixing], open)).toBe(reason)
    expect(await verdict([prefixing], serve)).toBe(reason)
  })

  it('is everybody’s when no handler has a say in it, and nobody’s when those that have pass', async () => {
    expect(await ask([{ authConnect: () => undefined }], open)).toMatchObject({ allowed: true })
    expect(await ask([{ authPublish: () => noOpinion }], open)).toMatchObject({ allowed: false })
    // As with publish and subscribe: each of its own.
    expect(await ask([{ authPublish: () => noOpinion }], serve)).toMatchObject({ allowed: true })
    expect(await ask([{ authTunnel: () => noOpinion }], serve)).toMatchObject({ allowed: false })
    expect(
      await ask([{ authTunnel: () => noOpinion }, { authPublish: () => undefined }], open),
    ).toMatchObject({
      allowed: true,
    })
  })

  it.each<[string, () => unknown]>([
    ['false', () => false],
    ['true', () => true],
    ['null', () => null],
    ['a number', () => 1],
    ['an object', () => ({})],
    ['a promise of false', () => Promise.resolve(false)],
    ['a promise that rejects', () => Promise.reject(new Error('boom'))],
  ])('is refused when a handler answers %s', async (_title, answer) => {
    for (const method of ['authTunnel', 'authPublish', 'authSubscribe'] as const) {
      const handler = { name: 'h', [method]: answer } as Handler
      for (const request of method === 'authPublish'
        ? [open]
        : method === 'authSubscribe'
          ? [serve]
          : [open, serve])
        expect(await ask([handler], request)).toMatchObject({ allowed: false, handler: 'h' })
    }
  })

  it('keeps a handler’s own `this`', () => {
    class Own implements Handler {
      readonly #agents = new Set(['pi7'])
      authTunnel(_session: unknown, { agent }: TunnelRequest): undefined {
        if (!this.#agents.has(agent)) throw new AuthError('no')
      }
    }
    const right = tunnelRight(new Own(), 'open')!
    expect(right(fakeSession(), open)).toBeUndefined()
    expect(() => right(fakeSession(), { ...open, agent: 'pi8' })).toThrow('no')
  })
})

describe('an access list', () => {
  const rights = `
user pi7
topic read $tunnel/pi7/#
user ann
topic write $tunnel/pi7/ssh/#
topic read $tunnel/+/status
user boss
topic write $tunnel/#
topic deny $tunnel/pi9/#
pattern write $tunnel/+/own/%u/up
`

  it.each([
    ['pi7', serve, true],
    ['pi7', { ...serve, topic: '$tunnel/pi8/+/+/up' }, false],
    ['pi7', open, false],
    ['ann', open, true],
    ['ann', { ...open, topic: '$tunnel/pi7/web/laptop/up' }, false],
    ['ann', { ...open, topic: '$tunnel/pi8/ssh/laptop/up' }, false],
    ['ann', serve, false],
    ['boss', open, true],
    ['boss', { ...open, topic: '$tunnel/pi9/ssh/laptop/up' }, false],
    // The name of the client is that of the user.
    ['eve', { ...open, topic: '$tunnel/pi7/own/eve/up' }, true],
    ['eve', { ...open, topic: '$tunnel/pi7/own/ann/up' }, false],
    ['eve', open, false],
  ])('gives %s %o: %s', async (username, request, expected) => {
    const file = join(await temporaryFolder(), 'acl')
    await writeFile(file, rights)
    const handler = await createAclFileHandler({
      file,
      dialect: 'mosquitto',
      mountpoint: '',
      log: fakeLog(),
    })
    const answer = createChain([handler]).authTunnel(fakeSession({ id: 'laptop', username }), request)
    expect((answer as Decision).allowed).toBe(expected)
    await handler.close?.()
  })
})
