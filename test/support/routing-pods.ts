import { onTestFinished } from 'vitest'
import type { ArrivedEntry, ClusterEvents, Seat } from '../../src/cluster/contract.ts'
import { createRouting, type Routing } from '../../src/cluster/routing.ts'
import { clusterSchema, redisSchema } from '../../src/config/cluster-schema.ts'
import type { DisconnectReason } from '../../src/hooks/types.ts'
import { createSilentLog } from '../../src/log.ts'
import type { StoredMessage, StoredSession } from '../../src/store/contract.ts'
import type { RedisLink } from '../../src/store/redis/contract.ts'
import { createRedisLink } from '../../src/store/redis/link.ts'
import type { RedisServer } from './redis-server.ts'

/** What the routing of one pod has told. */
export interface Told {
  readonly messages: { readonly message: StoredMessage; readonly group: string | undefined }[]
  readonly arrived: {
    readonly message: StoredMessage
    readonly entries: readonly ArrivedEntry[]
    readonly toConnected: boolean
  }[]
  readonly filled: string[]
  rescans: number
  /** `<pod> <filter>`, as they are now. */
  readonly wants: Set<string>
  /** `<pod> <key> <filter>`. */
  readonly groups: Set<string>
  readonly seats: { readonly pod: string; readonly seat: Seat; readonly left?: DisconnectReason['kind'] }[]
  readonly frames: {
    readonly pod: string
    readonly mountpoint: string
    readonly topic: string
    readonly frame: Buffer
  }[]
}

export interface RoutingPod {
  readonly link: RedisLink
  readonly routing: Routing
  readonly told: Told
  /** What the store would have. */
  readonly sessions: Map<string, StoredSession>
  readonly groups: Map<string, StoredSession>
}

export interface RoutingPodOptions {
  readonly cluster?: object
  readonly redis?: object
  /** Added to the link before the routing: its handlers are called first. */
  readonly before?: (link: RedisLink) => void
  /** To questions of pods; default: says the question again. */
  readonly answer?: (pod: string, question: Buffer) => Promise<Buffer>
}

/** A link and a routing, without a store and a broker; left and closed with the test. */
export async function startRoutingPod(
  redis: RedisServer,
  options: RoutingPodOptions = {},
): Promise<RoutingPod> {
  const config = redisSchema.parse({ url: redis.url, ...options.redis })
  const cluster = clusterSchema.parse({ ...options.cluster })
  const log = createSilentLog()
  const link = createRedisLink({ config, cluster, log })
  options.before?.(link)
  const sessions = new Map<string, StoredSession>()
  const groups = new Map<string, StoredSession>()
  const routing = createRouting({
    store: { link, sessions, groups },
    config: cluster,
    holdMs: config.holdMs,
    log,
  })
  const told: Told = {
    messages: [],
    arrived: [],
    filled: [],
    rescans: 0,
    wants: new Set(),
    groups: new Set(),
    seats: [],
    frames: [],
  }
  onTestFinished(async () => {
    routing.leave()
    await link.close()
  })
  await link.open()
  routing.start(listener(told, options.answer ?? ((_, question) => Promise.resolve(question))))
  link.start()
  return { link, routing, told, sessions, groups }
}

function listener(told: Told, answer: ClusterEvents['asked']): ClusterEvents {
  const nothing = (): void => undefined
  const set = (texts: Set<string>, text: string, isThere: boolean): void => {
    if (isThere) texts.add(text)
    else texts.delete(text)
  }
  return {
    message: (message, group) => void told.messages.push({ message, group }),
    arrived: (message, entries, toConnected) => void told.arrived.push({ message, entries, toConnected }),
    groupFilled: (key) => void told.filled.push(key),
    rescan: () => void told.rescans++,
    inboxLost: nothing,
    podWants: (pod, matchFilter, wanted) => set(told.wants, `${pod} ${matchFilter}`, wanted),
    podInGroup: (pod, key, matchFilter, joined) => set(told.groups, `${pod} ${key} ${matchFilter}`, joined),
    seatTaken: (pod, seat) => void told.seats.push({ pod, seat }),
    seatLeft: (pod, seat, left) => void told.seats.push({ pod, seat, left }),
    tunnelFrame: (pod, mountpoint, topic, frame) => void told.frames.push({ pod, mountpoint, topic, frame }),
    podJoined: nothing,
    podGone: nothing,
    banned: nothing,
    asked: answer,
    willDue: nothing,
    emptied: nothing,
    expelled: nothing,
  }
}
