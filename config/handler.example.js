// A handler of your own: authentication and authorization in one file. In the configuration:
//
//   handlers:
//     - type: module
//       file: config/handler.example.js
//       options:
//         tenants: { acme: s3cret }
//
// The default export is a handler, or a function (also async) that makes one. The function gets the `options` from
// the configuration and the tools below. Every method is optional; docs/handlers.md has the rules.

import { timingSafeEqual } from 'node:crypto'

/**
 * @param {{ tenants?: Record<string, string> }} options
 * @param {Pick<typeof import('tunnelmq'), 'AuthError' | 'noOpinion' | 'RefuseReason'>} tools
 * @returns {import('tunnelmq').Handler}
 */
export default function createHandler(options, { AuthError, noOpinion, RefuseReason }) {
  const tenants = new Map(Object.entries(options.tenants ?? {}))

  return {
    name: 'tenants',

    // Auth methods: return nothing to allow, `noOpinion` to ask the next handler of the chain, throw to refuse.
    // They may be async, and have a deadline (`auth.timeoutMs`).

    // Once for each CONNECT. May rewrite session.id, session.username and session.will.
    authConnect(session) {
      if (session.username === undefined) return noOpinion
      const secret = tenants.get(session.username)
      if (secret === undefined) return noOpinion
      if (!sameText(session.password, secret)) {
        throw new AuthError('wrong secret', RefuseReason.badCredentials) // CONNACK 4
      }
      // For the other methods: `attributes` lives as long as the connection.
      session.attributes.set('tenant', session.username)
      return undefined
    },

    // For each PUBLISH, and for the will. What is written into topic, payload and retain is stored and delivered.
    authPublish(session, message) {
      const tenant = session.attributes.get('tenant')
      if (typeof tenant !== 'string') return noOpinion
      if (!message.topic.startsWith(`${tenant}/`)) throw new AuthError('topic of another tenant')
      return undefined
    },

    // Once for each SUBSCRIBE, with all its filters. Each may be refused, or get a lower QoS, by itself.
    authSubscribe(session, subscriptions) {
      const tenant = session.attributes.get('tenant')
      if (typeof tenant !== 'string') return noOpinion
      for (const subscription of subscriptions) {
        if (!subscription.topic.startsWith(`${tenant}/`)) subscription.refused = 'filter of another tenant'
      }
      return undefined
    },

    // For each delivery; synchronous, so keep it short. false: not delivered; undefined: no opinion.
    authDeliver(session, message) {
      return message.topic.endsWith('/private') ? false : undefined
    },

    // Notifying methods (connect, publish, subscribe, unsubscribe, disconnect) are told afterwards. Whatever they do,
    // the client notices nothing.
    connect(session) {
      console.log(`${session.username} connected from ${session.peer.address}`)
    },
    subscribe(session, subscriptions) {
      console.log(`${session.username} subscribed to ${subscriptions.map(({ topic }) => topic).join(', ')}`)
    },
    disconnect(session, why) {
      console.log(`${session.username} disconnected: ${why.kind}`)
    },
  }
}

function sameText(password, secret) {
  const expected = Buffer.from(secret)
  return password?.length === expected.length && timingSafeEqual(password, expected)
}
