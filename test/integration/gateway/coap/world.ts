import { onTestFinished } from 'vitest'
import type { ConfigInput } from '../../../../src/config/schema.ts'
import { AuthError, noOpinion, RefuseReason, type Handler } from '../../../../src/hooks/types.ts'
import { startTestBroker, type TestBroker } from '../../../support/broker.ts'

/** What the handlers were asked and told, as `method name topic`, and what they answer. */
export interface Rules {
  readonly calls: string[]
  /** User names, and filters. */
  readonly banished: Set<string>
  /** While it is set, authPublish waits for it. */
  slow: Promise<void> | undefined
}

export interface CoapWorld {
  readonly broker: TestBroker
  readonly rules: Rules
  readonly port: number
}

type CoapInput = Extract<NonNullable<ConfigInput['listeners']>[number], { type: 'coap' }>

/**
 * A broker with a TCP listener, and one for CoAP whose handlers know `alice` (`secret`), any user name with the password
 * `right`, and the key `k-1` without a name; topics below `no/` are refused to all.
 */
export async function startCoapWorld(
  coap: CoapInput['coap'] = {},
  more: Partial<CoapInput> & { readonly limits?: ConfigInput['limits'] } = {},
): Promise<CoapWorld> {
  const rules: Rules = { calls: [], banished: new Set(), slow: undefined }
  const { limits, ...listener } = more
  const broker = await startTestBroker(
    {
      listeners: [
        { type: 'tcp', port: 0, allowAnonymous: true },
        { type: 'coap', name: 'coap', port: 0, coap, ...listener },
      ],
      ...(limits === undefined ? {} : { limits }),
    },
    { handlers: [handlerOf(rules)] },
  )
  const { url } = broker.listeners.find(({ name }) => name === 'coap')!
  return { broker, rules, port: Number(new URL(url).port) }
}

export async function startOwnCoapWorld(...args: Parameters<typeof startCoapWorld>): Promise<CoapWorld> {
  const world = await startCoapWorld(...args)
  onTestFinished(() => world.broker.stop())
  return world
}

function handlerOf(rules: Rules): Handler {
  const { calls, banished } = rules
  const nameOf = ({ username, peer }: Parameters<NonNullable<Handler['connect']>>[0]): string =>
    `${username ?? '-'}@${peer.transport}`
  const note = (method: string, session: Parameters<typeof nameOf>[0], what = ''): void => {
    if (session.peer.transport === 'coap') calls.push(`${method} ${nameOf(session)} ${what}`.trim())
  }
  return {
    authConnect(session) {
      note('authConnect', session)
      const { username = '', peer } = session
      if (peer.transport !== 'coap') return undefined
      const password = session.password?.toString()
      if (banished.has(username)) throw new AuthError('banished', RefuseReason.notAuthorized)
      if (username === 'away') throw new AuthError('backend', RefuseReason.unavailable)
      if (password === undefined) return noOpinion
      const isRight = username === '' ? password === 'k-1' : password === 'right'
      if (!isRight && !(username === 'alice' && password === 'secret'))
        throw new AuthError('wrong', RefuseReason.badCredentials)
      return undefined
    },
    authPublish(session, { topic }) {
      note('authPublish', session, topic)
      if (topic.startsWith('no/')) throw new AuthError('not there')
      return topic.startsWith('slow/') ? rules.slow : undefined
    },
    authSubscribe(session, subscriptions) {
      for (const subscription of subscriptions) {
        note('authSubscribe', session, subscription.topic)
        if (subscription.topic.startsWith('no/') || banished.has(subscription.topic))
          subscription.refused = true
      }
    },
    authDeliver: (_session, { topic }) => !topic.startsWith('hidden/'),
    connect: (session) => note('connect', session),
    publish: (session, { topic }) => note('publish', session, topic),
    subscribe: (session, [first]) => note('subscribe', session, first?.topic),
    unsubscribe: (session, [first]) => note('unsubscribe', session, first),
    disconnect: (session, { kind }) => note('disconnect', session, kind),
    stillAllowed: (session) => !banished.has(session.username ?? ''),
  }
}
