import type { Duplex } from 'node:stream'
import type { DoorClient } from '../../broker/door/contract.ts'
import type { TunnelConfig } from '../../config/tunnel-schema.ts'
import type { Log } from '../../log.ts'
import { ClientEndpoint } from '../../tunnel/client.ts'
import type { Destination } from '../../tunnel/endpoint/checked-name.ts'
import { isTunnelName } from '../../tunnel/protocol/names.ts'
import type { TunnelRouter } from '../../tunnel/router/router.ts'
import { quiet, streamsOf } from '../endpoint-parts.ts'
import { LocalEnd } from '../local-end.ts'
import { LocalLink } from '../local-link.ts'
import { refusal, refusalOf, SocksReply, type Refusal } from './refusal.ts'
import type { UserStreams } from './user-streams.ts'

export interface ProxyStreamParts {
  readonly client: DoorClient
  readonly router: TunnelRouter
  readonly config: Pick<TunnelConfig, 'resumeTimeoutMs'>
  readonly users: UserStreams
  readonly log: Log
}

export interface ProxyStreamEvents {
  /** The target is connected: what is written to the socket now comes before what the target says. */
  opened(): void
  /** It was not opened, and the socket is as it was. */
  refused(why: Refusal): void
}

/** One stream, from a client that came by the proxy door to a service: as that client would open it. */
export class ProxyStream {
  readonly #parts: ProxyStreamParts
  #endpoint: ClientEndpoint | undefined
  #isOver = false
  /** It is counted. */
  #uncount: (() => void) | undefined

  constructor(parts: ProxyStreamParts) {
    this.#parts = parts
  }

  /** `first`: of the socket, read already. */
  async open(socket: Duplex, first: Buffer, to: Destination, events: ProxyStreamEvents): Promise<void> {
    const { client, router, config, users, log } = this.#parts
    // Names of tunnels are client ids that can stand in a topic (docs/tunnel-protocol.md 2.1).
    if (!isTunnelName(client.clientId)) {
      events.refused(refusal(403, SocksReply.notAllowed, 'this client id cannot open tunnels'))
      return
    }
    const end = client.joinTunnels((identity) => new LocalEnd({ router, role: 'answers', identity }))
    if (router.isReserved(end.mountpoint, end.name)) {
      events.refused(refusal(403, SocksReply.notAllowed, 'this client id is reserved'))
      return
    }
    this.#uncount = users.begin(end)
    if (this.#uncount === undefined) {
      router.counters.refused.limit++
      events.refused(refusal(429, SocksReply.generalFailure, 'too many streams of this user'))
      return
    }
    const link = new LocalLink({ end, agent: to.agent })
    const endpoint = new ClientEndpoint({ log: quiet(log) }, { link, streams: streamsOf('client', config) })
    this.#endpoint = endpoint
    try {
      await endpoint.connected()
      if (this.#isOver) return
      endpoint.carryWhenOpen(socket, to, {
        first,
        opened: () => events.opened(),
        failed: (error) => events.refused(refusalOf(error)),
      })
    } catch (error) {
      events.refused(refusalOf(error))
    }
  }

  /**
   * What is open is reset; what has ended in order goes on until the agent has it, which may be away for as long as
   * streams may be resumed. Then its client leaves the broker.
   */
  async close(): Promise<void> {
    if (this.#isOver) return
    this.#isOver = true
    await this.#endpoint?.close(this.#parts.config.resumeTimeoutMs)
    this.#uncount?.()
    this.#parts.client.close()
  }
}
