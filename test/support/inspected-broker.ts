import { onTestFinished } from 'vitest'
import { Broker } from '../../src/broker/broker.ts'
import type { ListenerProfile } from '../../src/broker/listener-profile.ts'
import { createSingleCluster } from '../../src/cluster/single.ts'
import { configSchema, type Config, type ConfigInput } from '../../src/config/schema.ts'
import { createBrokerCounters, type BrokerCounters } from '../../src/counters.ts'
import { createChain } from '../../src/hooks/chain.ts'
import { createGuard } from '../../src/hooks/guard.ts'
import type { Handler } from '../../src/hooks/types.ts'
import { createAdmission, type Admission } from '../../src/listeners/admission.ts'
import { createSilentLog } from '../../src/log.ts'
import type { Peer } from '../../src/peer.ts'
import type { Store } from '../../src/store/contract.ts'
import { createMemoryStore } from '../../src/store/memory.ts'
import { TunnelRouter } from '../../src/tunnel/router/router.ts'
import { FakeTransport } from './fake-transport.ts'
import { testLimits } from './store-fixtures.ts'
import { type ConnectFields, connectPacket } from './wire.ts'

export interface InspectedBrokerOptions {
  readonly handlers?: readonly Handler[]
  readonly config?: ConfigInput
  readonly mountpoint?: string
  readonly allowAnonymous?: boolean
  readonly counters?: BrokerCounters
}

/** A broker whose parts lie open, and whose clients are transports in the hands of the test. */
export interface InspectedBroker {
  readonly broker: Broker
  readonly store: Store
  readonly config: Config
  readonly admission: Admission
  readonly tunnels: TunnelRouter | undefined
  readonly counters: BrokerCounters
  readonly profile: ListenerProfile
  /** Failures and refusals that the guard has reported. */
  readonly reported: string[]
  /** A client; it has its CONNACK. */
  readonly connect: (fields: ConnectFields, peer?: Partial<Peer>) => Promise<PeerTransport>
  /** One that has sent nothing. */
  readonly open: (peer?: Partial<Peer>) => PeerTransport
}

export class PeerTransport extends FakeTransport {
  override readonly peer: Peer

  constructor(facts: Partial<Peer>) {
    super()
    this.peer = { ...new FakeTransport().peer, ...facts }
  }

  /** Resolves when something was written since the last call, to what. */
  async answer(): Promise<Buffer> {
    for (;;) {
      const written = this.takeWritten()
      if (written.length > 0) return written
      await new Promise((resolve) => setImmediate(resolve))
    }
  }
}

export async function openInspectedBroker(options: InspectedBrokerOptions = {}): Promise<InspectedBroker> {
  const config = configSchema.parse({
    listeners: [{ type: 'tcp', port: 0, name: 'test' }],
    ...options.config,
  })
  const counters = options.counters ?? createBrokerCounters()
  const store = createMemoryStore(testLimits)
  await store.open()
  const admission = createAdmission(config.limits, () => performance.now())
  const cluster = createSingleCluster(store, { expiryMs: config.session.expiryMs })
  const log = createSilentLog()
  const tunnels = config.tunnel.enabled
    ? new TunnelRouter({
        config: config.tunnel,
        log,
        publishStatus: (mountpoint, agent, status) => broker.publishStatus(mountpoint, agent, status),
        statusOf: (mountpoint, agent) => broker.statusOf(mountpoint, agent),
        graceMs: 1_000,
      })
    : undefined
  const broker: Broker = new Broker({ config, store, cluster, counters, admission, tunnels, log })
  const reported: string[] = []
  const guard = createGuard(createChain(options.handlers ?? []), {
    timeoutMs: config.auth.timeoutMs,
    maxConcurrent: config.auth.maxConcurrent,
    onFailure: ({ method, handler }) => void reported.push(`${handler} ${method} failed`),
    onRefused: (method, handler) => void reported.push(`${handler} ${method} refused`),
  })
  const profile: ListenerProfile = {
    name: 'test',
    guard,
    allowAnonymous: options.allowAnonymous ?? options.handlers === undefined,
    protocolVersions: new Set([3, 4, 5]),
    mountpoint: options.mountpoint ?? '',
  }
  await broker.start()
  await cluster.start(broker.podEvents, () => broker.figures())
  onTestFinished(async () => {
    await broker.drain(0)
    await broker.close()
  })
  const open = (peer: Partial<Peer> = {}): PeerTransport => {
    const transport = new PeerTransport(peer)
    broker.accept(transport, profile)
    return transport
  }
  return {
    broker,
    store,
    config,
    admission,
    tunnels,
    counters,
    profile,
    reported,
    open,
    async connect(fields, peer) {
      const transport = open(peer)
      transport.send(connectPacket(fields))
      const [type, , , code] = await transport.answer()
      if (type !== 0x20 || code !== 0) throw new Error(`CONNACK ${code}`)
      return transport
    },
  }
}
