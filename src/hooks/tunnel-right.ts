import {
  AuthError,
  type Handler,
  type PublishRequest,
  type SubscribeRequest,
  type TunnelRequest,
  type Verdict,
} from './types.ts'

const NOTHING = Buffer.alloc(0)

/**
 * How a handler decides on tunnels: its authTunnel, or what it says of the tunnel's topic: may the agent subscribe
 * to it (serve), may the client publish to it (open)? Undefined: it has nothing to say.
 */
export function tunnelRight(
  handler: Handler,
  action: TunnelRequest['action'],
): NonNullable<Handler['authTunnel']> | undefined {
  if (handler.authTunnel !== undefined) return handler.authTunnel.bind(handler)
  if (action === 'serve') {
    if (handler.authSubscribe === undefined) return undefined
    return (session, { topic }) => {
      const subscription: SubscribeRequest = { topic, qos: 0 }
      return checked(handler.authSubscribe!(session, [subscription]), () => {
        if (subscription.refused) throw new AuthError(reasonOf(subscription.refused))
        if (subscription.topic !== topic) throw rewritten
      })
    }
  }
  if (handler.authPublish === undefined) return undefined
  return (session, { topic }) => {
    const message: PublishRequest = {
      topic,
      payload: NOTHING,
      retain: false,
      qos: 0,
      dup: false,
      isWill: false,
    }
    return checked(handler.authPublish!(session, message), () => {
      if (message.topic !== topic) throw rewritten
    })
  }
}

// A handler that rewrites topics means another topic than this one: the tunnel has no other.
const rewritten = new AuthError('the handler rewrote the topic of the tunnel')

function reasonOf(refused: boolean | string): string {
  return typeof refused === 'string' ? refused : 'refused'
}

/** Looks at what a handler has changed, when it has answered. */
function checked(verdict: Verdict, check: () => void): Verdict {
  if (verdict === undefined) {
    check()
    return undefined
  }
  // Anything else that is no promise is no verdict either, and the chain says so.
  if (typeof verdict !== 'object' || !('then' in verdict)) return verdict
  return Promise.resolve(verdict).then((answer) => {
    if (answer === undefined) check()
    return answer
  })
}
