import { onTestFinished } from 'vitest'
import { createCluster } from '../../src/cluster/cluster.ts'
import type { Claim, ClaimLoss, ClaimRequest, Cluster, ClusterEvents } from '../../src/cluster/contract.ts'
import { clusterSchema, redisSchema, type ClusterConfig } from '../../src/config/cluster-schema.ts'
import { configSchema, type Limits } from '../../src/config/schema.ts'
import { createSilentLog } from '../../src/log.ts'
import type { StoredWill } from '../../src/store/contract.ts'
import type { RedisLink, RedisStore } from '../../src/store/redis/contract.ts'
import { createRedisLink } from '../../src/store/redis/link.ts'
import { createRedisStore } from '../../src/store/redis/store.ts'
import { openCuttingProxy, type CuttingProxy } from './cutting-proxy.ts'
import { type RedisServer, startRedis } from './redis-server.ts'
import { message, publish, testLimits } from './store-fixtures.ts'

export interface ClusterPodOptions {
  /** Over short leases, so that tests do not only wait for them. */
  readonly cluster?: Partial<ClusterConfig>
  readonly limits?: Partial<Limits>
  readonly sessionExpiryMs?: number
}

/** Link, store and cluster, without a broker; what they tell is noted down. */
export interface ClusterPod {
  readonly link: RedisLink
  readonly store: RedisStore
  readonly cluster: Cluster
  /** Its way to Redis. */
  readonly proxy: CuttingProxy
  /** Events, as text: `joined <pod>`, `gone <pod> dead`, `banned <address>`, `will <topic>`, `emptied`, `expelled`. */
  readonly told: readonly string[]
  stop(): Promise<void>
}

/** A pod on this Redis; it ends with the test. Wills that are due are published, as the broker does. */
export async function openClusterPod(
  redis: RedisServer,
  options: ClusterPodOptions = {},
): Promise<ClusterPod> {
  const proxy = await openCuttingProxy(redis.port)
  const log = createSilentLog()
  const config = configSchema.parse({
    listeners: [{ type: 'tcp', port: 0 }],
    limits: options.limits ?? {},
    session: { expiryMs: options.sessionExpiryMs ?? 60_000 },
  })
  const clusterConfig = clusterSchema.parse({
    beatMs: 100,
    // Longer than the 2 s after which silence of all gives everybody a whole lease: they are in one process, and when
    // that stands still for a moment none of them is declared dead by the others.
    leaseMs: 2_500,
    takeoverMs: 2_000,
    ...options.cluster,
  })
  const redisConfig = redisSchema.parse({ url: `redis://127.0.0.1:${proxy.port}/0`, commandTimeoutMs: 500 })
  const link = createRedisLink({ config: redisConfig, cluster: clusterConfig, log })
  const store = createRedisStore({ link, limits: testLimits, sessionExpiryMs: 0, log })
  const cluster = createCluster({
    store,
    config: { ...config, cluster: clusterConfig, store: { ...config.store, redis: redisConfig } },
    log,
  })
  const told: string[] = []
  await store.open()
  let isStopped = false
  const stop = async (): Promise<void> => {
    if (isStopped) return
    isStopped = true
    await cluster.leave()
    await store.close()
  }
  onTestFinished(stop)
  await cluster.start(eventsOf(store, told), () => ({
    name: 'test',
    connected: 1,
    connectedClean: 1,
    packetsReceived: 2,
    packetsSent: 3,
    publishReceived: 4,
    publishSent: 5,
    publishDropped: 6,
    bytesReceived: 7,
    bytesSent: 8,
    connectionsAccepted: 9,
  }))
  return { link, store, cluster, proxy, told, stop }
}

function eventsOf(store: RedisStore, told: string[]): ClusterEvents {
  const nothing = (): void => undefined
  const nobodyAnswers = (): Promise<never> => Promise.reject(new Error('nobody answers'))
  return {
    message: nothing,
    arrived: nothing,
    groupFilled: (key) => void told.push(`filled ${key}`),
    rescan: nothing,
    inboxLost: nothing,
    podWants: nothing,
    podJoined: (pod) => void told.push(`joined ${pod}`),
    podInGroup: nothing,
    seatTaken: nothing,
    seatLeft: nothing,
    tunnelFrame: nothing,
    podGone: (pod, how) => void told.push(`gone ${pod} ${how}`),
    banned: (address, untilMs) => void told.push(`${untilMs === 0 ? 'unbanned' : 'banned'} ${address}`),
    asked: nobodyAnswers,
    willDue(will, claim) {
      const { clientId, message: willMessage } = will
      publish(store, { message: willMessage, willOf: clientId, willClaim: claim }).then(
        ({ duplicate }) => void (duplicate || told.push(`will ${willMessage.topic}`)),
        nothing,
      )
    },
    emptied: () => void told.push('emptied'),
    expelled: () => void told.push('expelled'),
  }
}

/** A Redis, and so many pods that know each other. */
export async function openClusterPods(
  count: number,
  options: ClusterPodOptions = {},
): Promise<{ redis: RedisServer; pods: ClusterPod[] }> {
  const redis = await startRedis()
  onTestFinished(() => redis.remove())
  const pods: ClusterPod[] = []
  for (let index = 0; index < count; index++) pods.push(await openClusterPod(redis, options))
  return { redis, pods }
}

/** What a broker does with a client id: closes its connection at once when it is lost. */
export interface Tenant {
  /** Resolves to undefined when it was refused. */
  readonly claimed: Promise<Claim | undefined>
  readonly losses: readonly ClaimLoss[]
  /** It may deliver. */
  readonly isOpen: boolean
  release(willDueAtMs?: number): Promise<void>
}

export function claimAt(pod: ClusterPod, sessionId: string, request: Partial<ClaimRequest> = {}): Tenant {
  const losses: ClaimLoss[] = []
  let claim: Claim | undefined
  let isOpen = false
  const release = async (willDueAtMs = 0): Promise<void> => {
    isOpen = false
    await claim?.release({ expiresAtMs: Date.now() + 60_000, sentUpToSeq: 0, willDueAtMs })
  }
  const claimed = pod.cluster
    .claim({
      sessionId,
      clean: true,
      will: undefined,
      username: undefined,
      maxSessions: 1_000,
      maxConnectionsPerUser: 0,
      ...request,
      onLost(loss) {
        losses.push(loss)
        void release()
      },
    })
    .then(
      (given) => {
        claim = given
        isOpen = true
        return given
      },
      () => undefined,
    )
  return {
    claimed,
    losses,
    get isOpen() {
      return isOpen
    },
    release,
  }
}

export function willOf(clientId: string, topic = `will/${clientId}`): StoredWill {
  return { clientId, message: message(topic, 'gone') }
}

/** Why it is not ready. */
export function failureOf({ store, cluster }: ClusterPod): string | undefined {
  return store.failure ?? cluster.failure
}
