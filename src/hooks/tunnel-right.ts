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
      return checked(handler.authSubscribe!(session, [subscription]), (answer) => {
        if (subscription.refused) throw new AuthError(reasonOf(subscription.refused))
        if (answer === undefined && subscription.topic !== topic) throw rewritten
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
    return checked(handler.authPublish!(session, message), (answer) => {
      if (answer === undefined && message.topic !== topic) throw rewritten
    })
  }
}

// A handler that rewrites topics means another topic than this one: the tunnel has no other.
const rewritten = new AuthError('the handler rewrote the topic of the tunnel')

function reasonOf(refused: boolean | string): string {
  return typeof refused === 'string' ? refused : 'refused'
}

/** Looks at what a handler has changed, when it has answered. */
function checked(verdict: Verdict, check: (answer: Awaited<Verdict>) => void): Verdict {
  // What is no verdict is one for the chain to refuse.
  if (verdict === undefined || typeof verdict !== 'object' || !('then' in verdict)) {
    check(verdict)
    return verdict
  }
  return Promise.resolve(verdict).then((answer) => {
    check(answer)
    return answer
  })
}
