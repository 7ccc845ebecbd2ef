import type { Store } from '../store/contract.ts'
import type { TunnelRouter } from '../tunnel/router/router.ts'
import type { Connection } from './connection.ts'
import { parseFilter } from './filter-request.ts'
import { ReasonCode } from './packets/reason.ts'
import type { UnsubscribePacket } from './packets/subscribe.ts'
import type { Subscriptions } from './subscriptions.ts'
import type { TopicLimits } from './topics.ts'

/** UNSUBSCRIBE, from the packet to its acknowledgement. Nobody is asked: a client may always give up what it has. */
export class Unsubscribing {
  readonly #store: Store
  readonly #subscriptions: Subscriptions
  readonly #tunnels: TunnelRouter | undefined
  readonly #topics: TopicLimits

  constructor(
    context: { store: Store; subscriptions: Subscriptions; tunnels: TunnelRouter | undefined },
    topics: TopicLimits,
  ) {
    this.#store = context.store
    this.#subscriptions = context.subscriptions
    this.#tunnels = context.tunnels
    this.#topics = topics
  }

  unsubscribe(connection: Connection, packet: UnsubscribePacket): void {
    const tooLarge = new Set<string>()
    for (const filter of packet.filters) {
      const { excess } = parseFilter(filter, this.#topics, connection.version)
      if (excess !== undefined) tooLarge.add(filter)
    }
    connection.hold()
    void this.#unsubscribe(connection, packet, tooLarge)
      .catch((error: unknown) => failed(connection, error))
      .finally(() => connection.release())
  }

  async #unsubscribe(
    connection: Connection,
    packet: UnsubscribePacket,
    tooLarge: ReadonlySet<string>,
  ): Promise<void> {
    const session = connection.clientSession!
    const { stored } = session
    const codes: number[] = []
    if (stored !== undefined) {
      const known = packet.filters.filter((filter) => stored.subscriptions.has(filter))
      await this.#store.removeSubscriptions(stored, known)
    }
    for (const filter of packet.filters) {
      const existed = this.#subscriptions.remove(session, filter) || this.#detachTunnel(connection, filter)
      const absent = tooLarge.has(filter) ? ReasonCode.topicFilterInvalid : ReasonCode.noSubscriptionExisted
      codes.push(existed ? ReasonCode.success : absent)
    }
    connection.sendUnsuback(packet.messageId, codesAsNamed(packet, codes)) // [MQTT-3.10.4-4]
    connection.profile.guard.unsubscribe(connection.session!, packet.filters)
  }

  /** True when the connection had frames of tunnels under this filter. */
  #detachTunnel({ clientId, tunnelEnd }: Connection, filter: string): boolean {
    const tunnels = this.#tunnels
    if (tunnels === undefined || tunnelEnd === undefined) return false
    const role = tunnels.roleOf(clientId, filter)
    if (role === undefined || tunnels.endOf(tunnelEnd.mountpoint, tunnelEnd.name, role) !== tunnelEnd)
      return false
    tunnels.detach(tunnelEnd, role)
    return true
  }
}

/** UNSUBACK has one for each filter of the client's packet, whatever an interceptor has made of that. [MQTT-3.11.3-1] */
function codesAsNamed({ filters, named }: UnsubscribePacket, codes: readonly number[]): readonly number[] {
  if (named === undefined) return codes
  // A packet has room for very many. Of one that is there twice, the first: that one has ended something.
  const places = new Map(filters.map((filter, index) => [filter, index] as const).toReversed())
  return named.map((filter, index) => {
    const place = filters[index] === filter ? index : places.get(filter)
    if (place !== undefined) return codes[place]!
    return filters.length === named.length ? codes[index]! : ReasonCode.notAuthorized
  })
}

/** The store could not do it, or something of ours threw: whoever is not answered would wait for ever. */
export function failed(connection: Connection, error: unknown): void {
  const detail = error instanceof Error ? error.message : String(error)
  connection.close({ kind: 'error', detail })
}
