import type { TunnelConfig, TunnelServiceConfig } from '../config/tunnel-schema.ts'
import type { Log } from '../log.ts'
import { AgentEndpoint } from '../tunnel/agent.ts'
import { ClientEndpoint } from '../tunnel/client.ts'
import { parseDestination } from '../tunnel/endpoint/checked-name.ts'
import type { TunnelRouter } from '../tunnel/router/router.ts'
import { quiet, streamsOf } from './endpoint-parts.ts'
import { LocalEnd } from './local-end.ts'
import { LocalLink } from './local-link.ts'
import { openTunnelPort, type TunnelPort, type TunnelPortOptions } from './tunnel-port.ts'

export interface GatewayOptions {
  readonly config: TunnelConfig
  readonly router: TunnelRouter
  /** Mountpoints of the listeners: in each of them the broker's name is its own. */
  readonly mountpoints: readonly string[]
  readonly isBanned: (address: string) => boolean
  readonly refused?: TunnelPortOptions['refused']
  /** Makes this the retained status of an agent. */
  readonly publishStatus: (mountpoint: string, agent: string, status: Buffer) => void
  readonly log: Log
}

/** What the broker itself has to do with tunnels: ports that lead into them, and services that it offers. */
export interface Gateway {
  readonly ports: readonly TunnelPort[]
  stopAccepting(): void
  /** After {@link stopAccepting}. Rejects with TMQ_LISTEN when one of the ports is somebody else's by now. */
  acceptAgain(): Promise<void>
  /** Resets the streams, and says that the broker's services are gone. */
  close(): Promise<void>
}

/** For streams that have ended here, and are not acknowledged yet. */
const GRACE_MS = 1_000

/**
 * Before the listeners are opened, so that nobody else can have the broker's name.
 * @throws {TunnelMQError} TMQ_LISTEN; nothing of it is left then.
 */
export async function startGateway(options: GatewayOptions): Promise<Gateway> {
  const { config, router, mountpoints, isBanned, refused, log } = options
  for (const mountpoint of mountpoints) {
    router.reserve(mountpoint, config.name)
    router.reserve(mountpoint, router.ownClientName)
  }
  const agents = startServices(options)
  const clients = new Clients(options)
  const ports: TunnelPort[] = []

  const gateway: Gateway = {
    ports,
    stopAccepting() {
      for (const port of ports) port.stopAccepting()
    },
    async acceptAgain() {
      await Promise.all(ports.map((port) => port.acceptAgain()))
    },
    async close() {
      gateway.stopAccepting()
      await Promise.all([clients.close(), ...agents.map((agent) => agent.close({ graceMs: GRACE_MS }))])
      await Promise.all(ports.map((port) => port.close()))
    },
  }
  try {
    for (const [index, listen] of config.listen.entries()) {
      const { agent } = parseDestination(listen.to)
      const client = clients.get(listen.mountpoint, agent)
      ports.push(
        await openTunnelPort({
          config: listen,
          entry: `tunnel.listen.${index}`,
          client,
          isBanned,
          refused,
          log,
        }),
      )
    }
  } catch (error) {
    await gateway.close()
    throw error
  }
  return gateway
}

/** One client for each agent that ports lead to: {@link LocalLink}. */
class Clients {
  readonly #options: GatewayOptions
  readonly #ends = new Map<string, LocalEnd>()
  readonly #clients = new Map<string, ClientEndpoint>()

  constructor(options: GatewayOptions) {
    this.#options = options
  }

  get(mountpoint: string, agent: string): ClientEndpoint {
    const key = `${agent}/${mountpoint}`
    const known = this.#clients.get(key)
    if (known !== undefined) return known
    const { config, router, log } = this.#options
    const name = router.ownClientName
    let end = this.#ends.get(mountpoint)
    if (end === undefined) {
      end = new LocalEnd({ router, role: 'answers', identity: { name, mountpoint } })
      this.#ends.set(mountpoint, end)
    }
    const link = new LocalLink({ end, agent })
    const client = new ClientEndpoint({ log: quiet(log) }, { link, streams: streamsOf('client', config) })
    this.#clients.set(key, client)
    return client
  }

  async close(): Promise<void> {
    await Promise.all([...this.#clients.values()].map((client) => client.close(GRACE_MS)))
  }
}

/** The broker as an agent: one for each mountpoint in which it offers something. */
function startServices({ config, router, publishStatus, log }: GatewayOptions): AgentEndpoint[] {
  const { name } = config
  const byMountpoint = new Map<string, Record<string, TunnelServiceConfig>>()
  for (const [service, settings] of Object.entries(config.services)) {
    const services = byMountpoint.get(settings.mountpoint) ?? {}
    services[service] = settings
    byMountpoint.set(settings.mountpoint, services)
  }
  return [...byMountpoint].map(([mountpoint, services]) => {
    const end = new LocalEnd({ router, role: 'serve', identity: { name, mountpoint } })
    const link = new LocalLink({
      end,
      publishStatus: (status, isOnline) => {
        // Others offer them under the same name.
        if (isOnline || !router.hasOthers) publishStatus(mountpoint, name, status)
      },
    })
    const agent = new AgentEndpoint(
      { services, log: quiet(log) },
      { link, streams: streamsOf('agent', config) },
    )
    log.info({ agent: name, services: Object.keys(services), mountpoint }, 'tunnel services offered')
    return agent
  })
}
