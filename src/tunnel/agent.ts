import { hostname } from 'node:os'
import type { Socket } from 'node:net'
import { version } from '../version.ts'
import type { Channel } from './endpoint/channel.ts'
import { DOCTOR_SERVICE, MAX_DOCTOR_STREAMS, serveDoctor } from './doctor-service.ts'
import { Conditions } from './endpoint/conditions.ts'
import { dial, dialFault } from './endpoint/dialer.ts'
import { Endpoint } from './endpoint/endpoint.ts'
import { Pipe } from './endpoint/pipe.ts'
import { resetSocket } from './endpoint/socket-end.ts'
import { endFields, peerFields } from './endpoint/stream-log.ts'
import { parseTarget, type Target } from './endpoint/target.ts'
import type { Link } from './link/link.ts'
import { silentLog, type TunnelLog } from './log.ts'
import type { OpenSource } from './protocol/open-payload.ts'
import { ResetCode, resetName } from './protocol/reset-code.ts'
import type { Streams } from './protocol/streams.ts'
import { checkedName } from './endpoint/checked-name.ts'
import { encodeProxyV2 } from './proxy-v2.ts'
import { encodeOffline, encodeStatus, type OwnStatus } from './status.ts'

export interface AgentService {
  /** `host:port`, `[IPv6]:port` or `unix:/path`. Nothing else is ever connected to. */
  readonly target: string
  /** Begin each connection with a PROXY header that names the client as the broker has seen it. Default `off`. */
  readonly proxyProtocol?: 'off' | 'v2'
}

export interface AgentSettings {
  /** By name: 1 to 64 of `A-Z a-z 0-9 . _ -`. */
  readonly services: Readonly<Record<string, AgentService>>
  /** Time for a target to accept. Default 10,000 (docs/tunnel-protocol.md 5.4). */
  readonly dialTimeoutMs?: number
  /** Targets that may be waited for at once; one more is refused with `limit`. Default 1,000. */
  readonly maxDials?: number
  /** Put the address that the client has named into the PROXY header; for a link inside the broker only (5.6). */
  readonly trustSource?: boolean
  /**
   * Offer the built-in service `doctor`, against which `tunnelmq doctor` measures the tunnel: it reaches nothing, and its
   * bytes and streams are bounded. It is not in the status. Default false.
   */
  readonly doctor?: boolean
  /** Default: silent. */
  readonly log?: TunnelLog
}

export interface AgentParts {
  readonly link: Link
  readonly streams: Streams
}

export interface AgentCloseOptions {
  /** Let streams that are open end by themselves for so long. Default 0: they are reset with `shutdown`. */
  readonly drainMs?: number
  /** For what waits to be sent. Default 1,000. */
  readonly graceMs?: number
}

/** An agent: offers services, until it is closed. It comes back by itself when its broker was away. */
export interface Agent {
  readonly id: string
  readonly isConnected: boolean
  /** Streams that are open. */
  readonly streams: number
  /** Resolves when it is connected and can be reached; rejects with TMQ_UNREACHABLE after the time. */
  connected(timeoutMs?: number): Promise<void>
  close(options?: AgentCloseOptions): Promise<void>
}

interface Service {
  readonly target: Target
  readonly proxyProtocol: 'off' | 'v2'
}

const DIAL_TIMEOUT_MS = 10_000
const MAX_DIALS = 1_000
const CONNECT_TIMEOUT_MS = 30_000
const GRACE_MS = 1_000
/** docs/tunnel-protocol.md 3.1 */
const STATUS_INTERVAL_MS = 2_000

/** The agent's end of a link: connects what clients open to the declared targets. */
export class AgentEndpoint implements Agent {
  readonly id: string
  readonly #services: ReadonlyMap<string, Service>
  readonly #settings: AgentSettings
  readonly #log: TunnelLog
  readonly #link: Link
  readonly #endpoint: Endpoint
  readonly #dials = new Set<Socket>()
  /** All to targets, also those whose stream has ended and that have bytes left to hand over. */
  readonly #sockets = new Set<Socket>()
  readonly #conditions = new Conditions()
  #statusTimer: NodeJS.Timeout | undefined
  #publishedStreams = 0
  #since = new Date()
  #isClosing = false
  #doctorCount = 0
  #closed: Promise<void> | undefined

  /** @throws {TunnelMQError} TMQ_USAGE for a target that is none. */
  constructor(settings: AgentSettings, { link, streams }: AgentParts) {
    this.id = link.name
    this.#settings = settings
    this.#services = readServices(settings.services)
    this.#log = settings.log ?? silentLog
    this.#link = link
    this.#endpoint = new Endpoint({
      link,
      streams,
      log: this.#log,
      opened: (channel) => this.#opened(channel),
      up: () => this.#up(),
      down: (reason) => this.#down(reason),
    })
  }

  get isConnected(): boolean {
    return this.#endpoint.isUp
  }

  get streams(): number {
    return this.#endpoint.streamCount
  }

  connected(timeoutMs = CONNECT_TIMEOUT_MS): Promise<void> {
    return this.#endpoint.untilUp(timeoutMs)
  }

  close(options: AgentCloseOptions = {}): Promise<void> {
    return (this.#closed ??= this.#close(options))
  }

  async #close({ drainMs = 0, graceMs = GRACE_MS }: AgentCloseOptions): Promise<void> {
    this.#isClosing = true
    clearTimeout(this.#statusTimer)
    this.#link.publishStatus(encodeOffline({ ...this.#describe(), since: new Date() }))
    await (drainMs > 0 ? this.#endpoint.drain(drainMs) : this.#endpoint.settle(graceMs))
    const closed = this.#endpoint.close(ResetCode.shutdown, 'the agent stops', graceMs)
    // The client was told that all has come. What its target does not take in time ends by a reset: with the process
    // it would end as if that were all.
    await this.#conditions.until(() => this.#sockets.size === 0, graceMs)
    for (const socket of this.#sockets) resetSocket(socket)
    await closed
  }

  #opened(channel: Channel): void {
    const { stream } = channel
    const { client, service: name } = stream.route
    const fields = { client, service: name, stream: stream.id, ...peerFields(stream.peer) }
    const service = this.#services.get(name)
    const refuse = (code: ResetCode, reason: string): void => {
      this.#log.info({ ...fields, reset: resetName(code), reason }, 'tunnel stream refused')
      channel.reset(code, reason)
    }
    if (this.#isClosing) return refuse(ResetCode.shutdown, 'the agent stops')
    if (service === undefined && name === DOCTOR_SERVICE && this.#settings.doctor === true)
      return this.#doctorCount < MAX_DOCTOR_STREAMS
        ? this.#measure(channel, fields)
        : refuse(ResetCode.limit, 'it is being measured already')
    if (service === undefined) return refuse(ResetCode.unknownService, `${this.id} does not offer '${name}'`)
    const { maxDials = MAX_DIALS } = this.#settings
    if (this.#dials.size >= maxDials) return refuse(ResetCode.limit, 'too many targets are being waited for')
    this.#connect(channel, service, fields)
  }

  #measure(channel: Channel, fields: object): void {
    this.#doctorCount++
    this.#log.info(fields, 'tunnel stream opened')
    serveDoctor(channel).once('close', () => {
      this.#doctorCount--
      this.#log.info(fields, 'tunnel stream ended')
    })
  }

  #connect(channel: Channel, service: Service, fields: object): void {
    let isConnected = false
    const socket = dial(service.target, this.#settings.dialTimeoutMs ?? DIAL_TIMEOUT_MS, () => {
      isConnected = true
      this.#dials.delete(socket)
      if (channel.isOver) return
      channel.accept()
      // Behind ACCEPT, which leaves in this turn: nobody need wait for the line.
      setImmediate(() => this.#log.info(fields, 'tunnel stream opened'))
    })
    this.#dials.add(socket)
    this.#sockets.add(socket)
    socket.once('close', () => {
      this.#dials.delete(socket)
      this.#sockets.delete(socket)
      this.#conditions.check()
    })
    if (service.proxyProtocol === 'v2') socket.write(this.#proxyHeader(channel, service.target))
    channel.owner = new Pipe(channel, socket, {
      faultOf: (error) => (isConnected ? undefined : dialFault(error)),
      ended: (end) => {
        const message = isConnected ? 'tunnel stream ended' : 'tunnel stream refused'
        this.#log.info({ ...fields, ...endFields(channel, end) }, message)
        this.#statusChanged()
      },
    })
    this.#statusChanged()
  }

  #proxyHeader({ stream }: Channel, target: Target): Buffer {
    const client = this.#settings.trustSource ? stream.source : stream.peer
    return encodeProxyV2(client, targetAddress(target))
  }

  #up(): void {
    this.#since = new Date()
    // One that stops has said so, and its link says it again.
    if (!this.#isClosing) this.#publishStatus()
    this.#log.info({ agent: this.id }, 'tunnel agent connected')
  }

  #down(reason: string): void {
    this.#log.warn({ agent: this.id, reason }, 'tunnel agent lost its connection')
  }

  // One a time, behind the interval: a thousand short streams do not become a thousand retained messages.
  #statusChanged(): void {
    if (this.#isClosing || this.#statusTimer !== undefined) return
    this.#statusTimer = setTimeout(() => {
      this.#statusTimer = undefined
      if (this.isConnected && this.streams !== this.#publishedStreams) this.#publishStatus()
    }, STATUS_INTERVAL_MS)
  }

  #publishStatus(): void {
    this.#publishedStreams = this.streams
    const status = { ...this.#describe(), since: this.#since, streams: this.streams }
    this.#link.publishStatus(encodeStatus(status))
  }

  #describe(): Pick<OwnStatus, 'services' | 'version' | 'host'> {
    return {
      services: [...this.#services.keys()],
      version: `tunnelmq/${version}`,
      host: hostname(),
    }
  }
}

function readServices(services: AgentSettings['services']): Map<string, Service> {
  return new Map(
    Object.entries(services).map(([name, { target, proxyProtocol = 'off' }]) => [
      checkedName('service', name),
      { target: parseTarget(target), proxyProtocol },
    ]),
  )
}

function targetAddress(target: Target): OpenSource | undefined {
  return target.kind === 'tcp' ? { address: target.host, port: target.port } : undefined
}
