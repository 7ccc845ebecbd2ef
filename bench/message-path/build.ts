/** As much of a build as is used here. */
export interface Build {
  /** A broker without listeners, with the memory store, everybody may do everything. */
  readonly startBroker: () => Promise<{ accept(transport: object): void }>
}

interface Modules {
  readonly Broker: new (context: object) => {
    start(): Promise<void>
    accept(transport: object, profile: object): void
  }
  readonly createSingleCluster: (store: object, options: object) => object
  readonly configSchema: { parse(input: object): Config }
  readonly createBrokerCounters: () => object
  readonly createChain: (handlers: readonly object[]) => object
  readonly createGuard: (chain: object, options: object) => object
  readonly createAdmission: (limits: object, nowMs: () => number) => object
  readonly createSilentLog: () => object
  readonly createMemoryStore: (limits: object) => { open(): Promise<void> }
}
interface Config {
  readonly session: {
    readonly queueMaxMessages: number
    readonly queueMaxBytes: number
    readonly expiryMs: number
  }
  readonly retained: { readonly maxMessages: number; readonly maxBytes: number }
  readonly limits: { readonly maxInflight: number }
}

const files = [
  'broker/broker.js',
  'cluster/single.js',
  'config/schema.js',
  'counters.js',
  'hooks/chain.js',
  'hooks/guard.js',
  'listeners/admission.js',
  'log.js',
  'store/memory.js',
]

/** @throws Error - when one of its modules is missing */
export async function loadBuild(dist: URL): Promise<Build> {
  const loaded = await Promise.all(files.map((file) => import(new URL(file, dist).href) as Promise<object>))
  const modules = Object.assign({}, ...loaded) as Modules
  return { startBroker: () => startBroker(modules) }
}

async function startBroker(modules: Modules): Promise<{ accept(transport: object): void }> {
  const config = modules.configSchema.parse({ listeners: [{ type: 'tcp', port: 0 }] })
  const { session, retained, limits } = config
  const store = modules.createMemoryStore({
    queueMaxMessages: session.queueMaxMessages,
    queueMaxBytes: session.queueMaxBytes,
    retainedMaxMessages: retained.maxMessages,
    retainedMaxBytes: retained.maxBytes,
    maxInflight: limits.maxInflight,
  })
  await store.open()
  const broker = new modules.Broker({
    config,
    store,
    cluster: modules.createSingleCluster(store, { expiryMs: session.expiryMs }),
    counters: modules.createBrokerCounters(),
    admission: modules.createAdmission(limits, () => performance.now()),
    log: modules.createSilentLog(),
  })
  await broker.start()
  const guard = modules.createGuard(modules.createChain([]), {
    timeoutMs: 5_000,
    maxConcurrent: 1_000,
    onFailure: () => undefined,
  })
  const profile = {
    ...{ name: 'bench', guard, allowAnonymous: true },
    ...{ protocolVersions: new Set([3, 4, 5]), mountpoint: '' },
  }
  return { accept: (transport) => broker.accept(transport, profile) }
}
