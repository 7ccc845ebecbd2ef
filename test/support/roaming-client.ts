import type { LoadClient } from './load-client.ts'

/** A pod that is stopped takes connections, and answers nothing. */
const CONNACK_WITHIN_MS = 5_000
const PAUSE_MS = 50

export interface RoamingOptions {
  /** Asked before each attempt. */
  readonly ports: () => readonly number[]
  /** Which of them first. */
  readonly first?: number
  /** False: the same one again and again. */
  readonly roams?: boolean
}

/** Keeps a client connected, as a device does: when its connection ends it goes to the next port that takes it. */
export class RoamingClient {
  readonly client: LoadClient
  /** Which port it is at, or tries. */
  at: number
  /** Connections that were accepted. */
  connectCount = 0
  /** Of those, behind the first: its session was gone. */
  absentCount = 0
  /** CONNACKs with another code than 0. */
  readonly refusals: number[] = []
  readonly #options: RoamingOptions
  readonly #done: Promise<void>
  #ended = false
  #firstOpen!: () => void
  readonly #opened = new Promise<void>((resolve) => (this.#firstOpen = resolve))

  constructor(client: LoadClient, options: RoamingOptions) {
    this.client = client
    this.#options = options
    this.at = options.first ?? 0
    this.#done = this.#run()
  }

  /** Resolves with the first connection. */
  get opened(): Promise<void> {
    return this.#opened
  }

  /** Connects no more. The connection stays. */
  rest(): void {
    this.#ended = true
  }

  /** Connects no more, and says DISCONNECT. */
  async end(): Promise<void> {
    this.#ended = true
    if (this.client.isOpen) await this.client.disconnect()
    await this.#done
  }

  async #run(): Promise<void> {
    while (!this.#ended) {
      if (await this.#attempt()) {
        this.#firstOpen()
        await this.client.closed
      } else await new Promise((resolve) => setTimeout(resolve, PAUSE_MS))
      if (this.#options.roams !== false) this.at = (this.at + 1) % this.#options.ports().length
    }
  }

  async #attempt(): Promise<boolean> {
    const attempt = this.client.connect(this.#options.ports()[this.at])
    const timer = setTimeout(() => void this.client.vanish(), CONNACK_WITHIN_MS)
    try {
      const { code, sessionPresent } = await attempt
      if (code !== 0) {
        this.refusals.push(code)
        await this.client.vanish()
        return false
      }
      if (this.connectCount++ > 0 && !sessionPresent) this.absentCount++
      return true
    } catch {
      await this.client.closed
      return false
    } finally {
      clearTimeout(timer)
    }
  }
}
