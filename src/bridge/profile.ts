import type { ListenerProfile } from '../broker/listener-profile.ts'
import type { BridgeConfig } from '../config/bridge-schema.ts'
import { createChain } from '../hooks/chain.ts'
import { createGuard } from '../hooks/guard.ts'
import { AuthError } from '../hooks/types.ts'
import type { Log } from '../log.ts'
import { TopicMaps } from './topic-maps.ts'

/** What the session of a bridge may do here: subscribe to what its topic maps send out, and nothing else. */
export function bridgeProfile(config: BridgeConfig, clientId: string, log: Log): ListenerProfile {
  const { name, mountpoint, topics } = config
  const allowed = new Set(new TopicMaps(topics, 'out').filters.map(({ filter }) => filter))
  const chain = createChain([
    {
      name: 'bridge',
      authConnect() {},
      // What it brings from the other broker does not come by its connection.
      authPublish() {
        throw new AuthError('a bridge does not publish by its connection')
      },
      authSubscribe(_session, subscriptions) {
        for (const subscription of subscriptions) subscription.refused = !allowed.has(subscription.topic)
      },
      authTunnel() {
        throw new AuthError('a bridge has no tunnels')
      },
    },
  ])
  const guard = createGuard(chain, {
    timeoutMs: 5_000,
    maxConcurrent: 1,
    onFailure: ({ method, cause }) => log.error({ bridge: name, method, err: cause }, 'handler failed'),
  })
  return {
    name: `bridge:${name}`,
    guard,
    allowAnonymous: true,
    protocolVersions: new Set([5]),
    ownClientId: clientId,
    mountpoint,
  }
}
