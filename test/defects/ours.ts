import { cp } from 'node:fs/promises'
import { join } from 'node:path'
import type { ConfigInput } from '../../src/config/schema.ts'
import type { Handler } from '../../src/hooks/types.ts'
import { createSilentLog } from '../../src/log.ts'
import type { Store } from '../../src/store/contract.ts'
import { openLevel, type Level, type LevelBatch } from '../../src/store/embedded/level.ts'
import { createEmbeddedStore } from '../../src/store/embedded/store.ts'
import { startBrokerOnStore, type BrokerOnStore } from '../support/broker-on-store.ts'
import { startTestBroker, type TestBroker } from '../support/broker.ts'
import { StoreBrake } from '../support/store-brake.ts'
import { testLimits } from '../support/store-fixtures.ts'
import { temporaryFolder } from '../support/store-folder.ts'
import type { RestartableBroker } from './stage.ts'

const DEADLINE_MS = 10_000

type Config = NonNullable<Parameters<typeof startBrokerOnStore>[1]>

export interface OurOptions {
  readonly store: 'memory' | 'embedded'
  readonly config?: Partial<Omit<ConfigInput, 'listeners' | 'store'>>
  readonly handlers?: readonly Handler[]
}

/** Our broker, as `startBroker` starts it. With the memory store a restart loses what it is to keep. */
export async function startOurs({ store, config, handlers }: OurOptions): Promise<RestartableBroker> {
  const folder = await temporaryFolder()
  const start = (): Promise<TestBroker> =>
    startTestBroker(
      { ...config, store: { type: store, path: folder.path } },
      handlers === undefined ? {} : { handlers },
    )
  let broker = await start()
  return {
    get port() {
      return broker.port
    },
    deadlineMs: DEADLINE_MS,
    async restart() {
      await broker.stop()
      broker = await start()
    },
    async stop() {
      await broker.stop()
      await folder.remove()
    },
  }
}

/** For scenarios that want the same of both stores. */
export function onBothStores(
  options: Omit<OurOptions, 'store'> = {},
): Record<string, () => Promise<RestartableBroker>> {
  return {
    'memory store': () => startOurs({ ...options, store: 'memory' }),
    'embedded store': () => startOurs({ ...options, store: 'embedded' }),
  }
}

/** Our broker on the embedded store, with a brake on the disk. */
export class BrakedBroker implements RestartableBroker {
  readonly deadlineMs = DEADLINE_MS
  readonly brake = new StoreBrake()
  readonly #config: Config
  readonly #folder: Awaited<ReturnType<typeof temporaryFolder>>
  readonly #abandoned: { broker: BrokerOnStore; store: Store }[] = []
  #run = 0
  #broker: BrokerOnStore | undefined
  #store: Store | undefined

  private constructor(folder: Awaited<ReturnType<typeof temporaryFolder>>, config: Config) {
    this.#folder = folder
    this.#config = config
  }

  static async start(config: Config = {}): Promise<BrakedBroker> {
    const broker = new BrakedBroker(await temporaryFolder(), config)
    await broker.#start()
    return broker
  }

  get port(): number {
    return this.#broker!.port
  }

  get store(): Store {
    return this.#store!
  }

  async restart(): Promise<void> {
    await this.#close()
    await this.#start()
  }

  /** Ends it as it stands, and starts another one with what has been written by now. */
  async kill(): Promise<void> {
    const before = this.#path
    this.#run++
    await cp(before, this.#path, { recursive: true })
    this.#abandoned.push({ broker: this.#broker!, store: this.#store! })
    this.brake.release()
    await this.#start()
  }

  async stop(): Promise<void> {
    this.brake.release()
    await this.#close()
    for (const { broker, store } of this.#abandoned) {
      await broker.stop()
      await store.close()
    }
    await this.#folder.remove()
  }

  get #path(): string {
    return join(this.#folder.path, String(this.#run))
  }

  async #start(): Promise<void> {
    this.#store = createEmbeddedStore({
      path: this.#path,
      sync: true,
      cacheBytes: 1_000_000,
      limits: {
        ...testLimits,
        queueMaxMessages: 10_000,
        maxInflight: this.#config.limits?.maxInflight ?? 20,
      },
      log: createSilentLog(),
      openLevel: async (path, options) => braked(await openLevel(path, options), this.brake),
    })
    await this.#store.open()
    this.#broker = await startBrokerOnStore(this.#store, this.#config)
  }

  async #close(): Promise<void> {
    await this.#broker!.stop()
    await this.#store!.close()
  }
}

function braked(level: Level, brake: StoreBrake): Level {
  return {
    ...level,
    begin: () => brakedBatch(level.begin(), brake),
    get: (key) => {
      brake.stepCount++
      return level.get(key)
    },
    async *scan(range, portion) {
      for await (const entries of level.scan(range, portion)) {
        brake.stepCount += entries.length
        yield entries
      }
    },
  }
}

function brakedBatch(batch: LevelBatch, brake: StoreBrake): LevelBatch {
  return {
    get isEmpty() {
      return batch.isEmpty
    },
    get bytes() {
      return batch.bytes
    },
    put(key, value) {
      brake.stepCount++
      batch.put(key, value)
    },
    del(key) {
      brake.stepCount++
      batch.del(key)
    },
    discard: () => batch.discard(),
    async write(sync) {
      try {
        await brake.pass()
      } catch (error) {
        batch.discard()
        throw error
      }
      await batch.write(sync)
    },
  }
}
