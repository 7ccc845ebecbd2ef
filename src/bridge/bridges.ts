import type { BridgeConfig } from '../config/bridge-schema.ts'
import type { Cluster } from '../cluster/contract.ts'
import type { Log } from '../log.ts'
import { Bridge, bridgeClientId, type BridgeHost, type BridgeLimits } from './bridge.ts'
import { bridgeProfile } from './profile.ts'

export interface BridgesOptions {
  readonly bridges: readonly BridgeConfig[]
  readonly host: BridgeHost
  readonly cluster: Pick<Cluster, 'isShared' | 'pod' | 'pods'>
  readonly limits: BridgeLimits
  readonly log: Log
}

const TICK_MS = 500
/** Ticks in a row that say the same: a pod that has just come may not have heard of the others yet. */
const SURE_TICKS = 2
/** The start goes on without a session that does not come. */
const START_WAIT_MS = 5_000

/**
 * All bridges of this broker. Of several pods, the first of those that live runs all of them: who that is, every pod
 * can tell, so that no two pods take a bridge from each other again and again. When they do not agree for a moment, the
 * claim of the bridge's client id decides: who claims it last has it, and the other one's session ends.
 */
export class Bridges {
  readonly all: readonly Bridge[]
  readonly #options: BridgesOptions
  #timer: NodeJS.Timeout | undefined
  #turnTicks = 0
  #isStopped = false

  constructor(options: BridgesOptions) {
    const { bridges, host, limits, log } = options
    this.#options = options
    this.all = bridges.map((config) => {
      const profile = bridgeProfile(config, bridgeClientId(config.name), log)
      return new Bridge({ config, host, profile, limits, log })
    })
  }

  /** Of a broker that is alone: resolves when messages are kept for each bridge, or not in time. Before listeners. */
  async start(): Promise<void> {
    this.#timer = setInterval(() => this.#tick(), TICK_MS)
    if (this.#options.cluster.isShared) return
    let timer: NodeJS.Timeout | undefined
    await Promise.race([
      Promise.all(this.all.map((bridge) => bridge.run())),
      new Promise((resolve) => (timer = setTimeout(resolve, START_WAIT_MS))),
    ])
    clearTimeout(timer)
  }

  /** What is under way has a moment; what is not acknowledged stays in the queues. */
  async stop(): Promise<void> {
    this.#isStopped = true
    clearInterval(this.#timer)
    await Promise.all(this.all.map((bridge) => bridge.rest()))
  }

  get #isMyTurn(): boolean {
    const { cluster } = this.#options
    return !cluster.isShared || cluster.pods().every(({ id }) => id >= cluster.pod)
  }

  #tick(): void {
    if (this.#isStopped) return
    this.#turnTicks = this.#isMyTurn ? this.#turnTicks + 1 : 0
    for (const bridge of this.all) {
      bridge.tick()
      if (this.#turnTicks >= SURE_TICKS && !bridge.isRunning) void bridge.run()
      if (this.#turnTicks === 0 && bridge.isRunning) void bridge.rest()
    }
  }
}
