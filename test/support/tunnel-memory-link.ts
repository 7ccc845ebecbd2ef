import type { Link, LinkEvents } from '../../src/tunnel/link/link.ts'
import { encodeFrame, type FrameHeader, FrameType } from '../../src/tunnel/protocol/frame.ts'
import {
  decodeOpen,
  encodeOpen,
  type OpenPeer,
  type OpenSource,
} from '../../src/tunnel/protocol/open-payload.ts'
import { Routes, type Route } from '../../src/tunnel/protocol/names.ts'

export interface MemoryLinks {
  readonly agent: MemoryLink
  readonly client: MemoryLink
  /** Both connections are lost, with all that was on its way. */
  cut(): void
  /** Both connect again. */
  heal(): void
}

/** The links of an agent and a client, with nothing between. Up from the next turn of the event loop on. */
export function joinedLinks(agentName = 'pi7', clientName = 'laptop'): MemoryLinks {
  const routes = new Routes()
  const agent = new MemoryLink(agentName, routes)
  const client = new MemoryLink(clientName, routes)
  agent.other = client
  client.other = agent
  const heal = (): void => {
    agent.connect()
    client.connect()
  }
  setImmediate(heal)
  return {
    agent,
    client,
    cut: () => {
      agent.disconnect()
      client.disconnect()
    },
    heal,
  }
}

/** Frames that wait for the other end; then `send` says false. */
const MAX_WAITING = 64

export class MemoryLink implements Link {
  readonly name: string
  readonly isAnswered = false
  other!: MemoryLink
  isUp = false
  isClosed = false
  /** As of a broker that knows nothing, or refuses: undefined and `refused`. */
  statusAnswer: 'told' | 'refused' = 'told'
  /** What a broker between would put into each OPEN of this end. */
  vouchedPeer: OpenPeer | undefined
  /** Of each OPEN that this end has sent. */
  readonly sources: (OpenSource | undefined)[] = []
  /** What this end has published, in order. */
  readonly statuses: string[] = []
  readonly #routes: Routes
  #events: LinkEvents | undefined
  #waiting: { route: Route; frame: Buffer }[] = []
  #isFull = false
  #status: string | undefined
  #watched = false
  #upWaiters: (() => void)[] = []

  constructor(name: string, routes: Routes) {
    this.name = name
    this.#routes = routes
  }

  attach(events: LinkEvents): void {
    this.#events = events
  }

  connect(): void {
    if (this.isUp || this.isClosed) return
    this.isUp = true
    this.#events?.up()
    this.#tellUp()
    if (this.#watched) this.#tellStatus()
  }

  disconnect(): void {
    if (!this.isUp) return
    this.isUp = false
    this.#waiting = []
    this.#isFull = false
    this.#events?.down('cut')
  }

  route(agent: string, service: string, client: string): Route {
    return this.#routes.get(agent, service, client)
  }

  send(route: Route, header: FrameHeader, payload: Buffer | undefined): boolean {
    if (!this.isUp) return false
    if (this.#waiting.length >= MAX_WAITING) {
      this.#isFull = true
      return false
    }
    if (this.#waiting.length === 0) setImmediate(() => this.#cross())
    this.#waiting.push({ route, frame: encodeFrame(header, this.#vouched(header, payload)) })
    return true
  }

  publishStatus(status: string): void {
    this.#status = status
    this.statuses.push(status)
    this.other.#tellStatus()
  }

  watchStatus(): void {
    this.#watched = true
    if (this.isUp) setImmediate(() => this.#tellStatus())
  }

  statusComplete(timeoutMs: number): Promise<void> {
    if (this.statusAnswer === 'refused') return Promise.reject(new Error('not allowed'))
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`not up within ${timeoutMs} ms`)), timeoutMs)
      this.#upWaiters.push(() => {
        clearTimeout(timer)
        setImmediate(() => setImmediate(resolve))
      })
      if (this.isUp) this.#tellUp()
    })
  }

  close(): Promise<void> {
    if (this.#waiting.length > 0) this.#cross()
    this.isClosed = true
    this.isUp = false
    return Promise.resolve()
  }

  /** A status as the broker would tell it. */
  tell(agent: string, status: string | undefined): void {
    this.#events?.status(agent, status === undefined ? undefined : Buffer.from(status))
  }

  #tellUp(): void {
    for (const tell of this.#upWaiters.splice(0)) tell()
  }

  #vouched(header: FrameHeader, payload: Buffer | undefined): Buffer | undefined {
    if (header.type !== FrameType.open || payload === undefined) return payload
    const open = decodeOpen(payload)
    if (typeof open === 'string') return payload
    this.sources.push(open.source)
    if (this.vouchedPeer === undefined) return payload
    return encodeOpen({ ...open, peer: this.vouchedPeer })
  }

  #tellStatus(): void {
    const status = this.other.#status
    if (this.#watched && this.isUp && status !== undefined) this.tell(this.other.name, status)
  }

  #cross(): void {
    const frames = this.#waiting
    this.#waiting = []
    if (!this.isUp) return
    const { other } = this
    for (const { route, frame } of frames) {
      const isForOther = route.agent === other.name || route.client === other.name
      if (isForOther && other.isUp) other.#events?.frame(route, frame)
    }
    if (!this.#isFull) return
    this.#isFull = false
    this.#events?.room()
  }
}
