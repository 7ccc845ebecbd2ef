/** The reserved namespace of TunnelMQ's broker. docs/tunnel-protocol.md 2.1 */
export const TUNNEL_PREFIX = '$tunnel'

const NAME = /^[A-Za-z0-9._-]{1,64}$/

/** 2.1: names of agents, services and clients. */
export function isTunnelName(name: string): boolean {
  return NAME.test(name)
}

/** Where the frames of one client for one service of one agent go. Kept and compared by reference: see {@link Routes}. */
export interface Route {
  readonly agent: string
  readonly service: string
  readonly client: string
  /** `<prefix>/<agent>/<service>/<client>/up` */
  readonly upTopic: string
  /** `<prefix>/<agent>/<service>/<client>/down` */
  readonly downTopic: string
}

export type Direction = 'up' | 'down'

/** The parts of a frame's topic, or undefined when it is none. */
export function parseFrameTopic(
  topic: string,
  prefix: string = TUNNEL_PREFIX,
): { agent: string; service: string; client: string; direction: Direction } | undefined {
  if (!topic.startsWith(prefix) || topic[prefix.length] !== '/') return undefined
  const parts = topic.slice(prefix.length + 1).split('/')
  const [agent = '', service = '', client = '', direction] = parts
  if (parts.length !== 4 || (direction !== 'up' && direction !== 'down')) return undefined
  if (!isTunnelName(agent) || !isTunnelName(service) || !isTunnelName(client)) return undefined
  return { agent, service, client, direction }
}

/** The agent of `<prefix>/<agent>/status`, or undefined. */
export function parseStatusTopic(topic: string, prefix: string = TUNNEL_PREFIX): string | undefined {
  if (!topic.startsWith(`${prefix}/`) || !topic.endsWith('/status')) return undefined
  const agent = topic.slice(prefix.length + 1, -'/status'.length)
  return isTunnelName(agent) ? agent : undefined
}

/** What an agent subscribes to. */
export const serveFilter = (agent: string, prefix: string = TUNNEL_PREFIX): string =>
  `${prefix}/${agent}/+/+/up`
/** What a client subscribes to. */
export const answersFilter = (client: string, prefix: string = TUNNEL_PREFIX): string =>
  `${prefix}/+/+/${client}/down`
/** Of one agent, or of all with `+`. */
export const statusTopic = (agent: string, prefix: string = TUNNEL_PREFIX): string =>
  `${prefix}/${agent}/status`

/** One Route object for each agent, service and client; they are few, and each is needed by every frame. */
export class Routes {
  readonly #prefix: string
  readonly #byTopic = new Map<string, Route>()
  readonly #maxCount: number

  /** At `maxCount` all are forgotten: then a peer has made up names. Whoever holds one keeps it. */
  constructor(prefix: string = TUNNEL_PREFIX, maxCount = 65_536) {
    this.#prefix = prefix
    this.#maxCount = maxCount
  }

  /** @throws RangeError for a name that is none (2.1). */
  get(agent: string, service: string, client: string): Route {
    for (const name of [agent, service, client]) {
      if (!isTunnelName(name)) throw new RangeError(`not a name of an agent, service or client: '${name}'`)
    }
    const base = `${this.#prefix}/${agent}/${service}/${client}`
    const known = this.#byTopic.get(`${base}/up`)
    if (known !== undefined) return known
    if (this.#byTopic.size >= 2 * this.#maxCount) this.#byTopic.clear()
    const route: Route = { agent, service, client, upTopic: `${base}/up`, downTopic: `${base}/down` }
    this.#byTopic.set(route.upTopic, route)
    this.#byTopic.set(route.downTopic, route)
    return route
  }

  /** The route of a topic that was received, or undefined when it is not one of frames. */
  ofTopic(topic: string): Route | undefined {
    const known = this.#byTopic.get(topic)
    if (known !== undefined) return known
    const parts = parseFrameTopic(topic, this.#prefix)
    return parts && this.get(parts.agent, parts.service, parts.client)
  }
}
