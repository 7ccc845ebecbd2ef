import { once } from 'node:events'
import { connect as connectTcp, type Socket } from 'node:net'
import { connect as connectTls, type TLSSocket } from 'node:tls'
import { messageOf } from './finding.ts'

/** Where an MQTT listener is, and how one gets in. */
export interface ProbeTarget {
  readonly host: string
  readonly port: number
  /** In place of host and port. */
  readonly socketPath?: string
  readonly isTls: boolean
  /** Of a WebSocket listener. */
  readonly webSocketPath?: string
  /** Sent first, before TLS. */
  readonly proxyHeader?: Buffer
  /** Short, and of ASCII. */
  readonly clientId: string
  /** One that is served there. */
  readonly version: keyof typeof LEVELS
  /**
   * Ask in a version that is never served, for listeners that want credentials: the answer shows that MQTT is spoken, and
   * no refused credentials are counted towards a ban of this address.
   */
  readonly asksOnly?: boolean
}

export interface Probe {
  /** CONNACK, its code in that version; 0: let in. Undefined: there was none. */
  readonly connack?: number
  readonly connectMs?: number
  /** From PINGREQ to PINGRESP, when let in. */
  readonly pingMs?: number
  /** SHA-256 of the certificate that was shown. */
  readonly fingerprint?: string
  readonly servedUntil?: Date
  /** What went wrong, and how far it came. */
  readonly failure?: { readonly at: 'connect' | 'tls' | 'websocket' | 'mqtt'; readonly reason: string }
}

const TIMEOUT_MS = 5_000
const PINGREQ = Buffer.from([0xc0, 0])
const DISCONNECT = Buffer.from([0xe0, 0])
/** Not one to come: that is answered in MQTT 5. */
const NEVER_SERVED_LEVEL = 0
const CLEAN_SESSION = 0x02
const LEVELS = { '3.1': 3, '3.1.1': 4, '5': 5 } as const

/**
 * A real CONNECT, with clean session, and PINGREQ. `during` runs while the client is connected. Never rejects, but with what
 * `during` rejects with.
 */
export async function probeMqtt(target: ProbeTarget, during?: () => Promise<void>): Promise<Probe> {
  const signal = AbortSignal.timeout(TIMEOUT_MS)
  const startedAt = performance.now()
  let at: NonNullable<Probe['failure']>['at'] = 'connect'
  let facts: Probe = {}
  let socket: Socket | undefined
  const failed = (error: unknown): Probe => ({
    ...facts,
    failure: { at, reason: signal.aborted ? `no answer in ${TIMEOUT_MS / 1_000} s` : messageOf(error) },
  })
  try {
    socket = target.socketPath === undefined ? connectTcp(target) : connectTcp(target.socketPath)
    // What comes after the last wait is nobody's concern.
    socket.on('error', () => undefined)
    await once(socket, 'connect', { signal })
    if (target.proxyHeader !== undefined) socket.write(target.proxyHeader)
    if (target.isTls) {
      at = 'tls'
      const secured = await secure(socket, target, signal)
      socket = secured
      facts = { ...facts, ...certificateOf(secured) }
    }
    const read = reader(socket)
    let wrap = (packet: Buffer): Buffer => packet
    let next = read
    if (target.webSocketPath !== undefined) {
      at = 'websocket'
      await upgrade(socket, read, target.webSocketPath, signal)
      wrap = maskedFrame
      next = framed(read)
    }
    at = 'mqtt'
    socket.write(wrap(connectPacket(target)))
    const [type, length = 0] = await next(2, signal)
    // Short enough for one byte of length, with what the broker says of itself in MQTT 5.
    if (type !== 0x20 || length < 2 || length > 0x7f)
      throw new Error('what answers there does not speak MQTT')
    const [, code = 0xff] = await next(length, signal)
    facts = { ...facts, connack: code, connectMs: performance.now() - startedAt }
    if (facts.connack !== 0) return facts
    const pingedAt = performance.now()
    socket.write(wrap(PINGREQ))
    await next(2, signal)
    facts = { ...facts, pingMs: performance.now() - pingedAt }
  } catch (error) {
    socket?.destroy()
    return failed(error)
  }
  try {
    await during?.()
    socket.end(target.webSocketPath === undefined ? DISCONNECT : maskedFrame(DISCONNECT))
    return facts
  } finally {
    setTimeout(() => socket.destroy(), 100).unref()
  }
}

async function secure(raw: Socket, { host }: ProbeTarget, signal: AbortSignal): Promise<TLSSocket> {
  const isName = /[a-z]/i.test(host) && !host.includes(':')
  // It is looked at, and not trusted: nothing secret is sent, and the certificate is compared with its file.
  const socket = connectTls({ socket: raw, rejectUnauthorized: false, ...(isName && { servername: host }) })
  socket.on('error', () => undefined)
  await once(socket, 'secureConnect', { signal })
  return socket
}

function certificateOf(socket: TLSSocket): Pick<Probe, 'fingerprint' | 'servedUntil'> {
  const certificate = socket.getPeerX509Certificate()
  return certificate === undefined
    ? {}
    : { fingerprint: certificate.fingerprint256, servedUntil: new Date(certificate.validTo) }
}

type Read = (bytes: number, signal: AbortSignal) => Promise<Buffer>

/** Reads exactly so many bytes. */
function reader(socket: Socket): Read {
  let kept = Buffer.alloc(0)
  let isOver = false
  let wake = (): void => undefined
  socket.on('data', (bytes: Buffer) => {
    kept = Buffer.concat([kept, bytes])
    wake()
  })
  socket.on('close', () => {
    isOver = true
    wake()
  })
  return async (bytes, signal) => {
    while (kept.length < bytes) {
      if (isOver) throw new Error('the connection was closed')
      signal.throwIfAborted()
      await new Promise<void>((resolve) => {
        wake = resolve
        signal.addEventListener('abort', () => resolve(), { once: true })
      })
    }
    const part = kept.subarray(0, bytes)
    kept = kept.subarray(bytes)
    return part
  }
}

/** RFC 6455, 4.1; the key need not be a secret, as nothing is cached on this way. */
async function upgrade(socket: Socket, read: Read, path: string, signal: AbortSignal): Promise<void> {
  socket.write(
    `GET ${path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n` +
      'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n',
  )
  let head = ''
  while (!head.endsWith('\r\n\r\n')) {
    if (head.length > 8_192) throw new Error('what answers there does not speak HTTP')
    head += (await read(1, signal)).toString('latin1')
  }
  const [status = ''] = head.split('\r\n')
  if (!status.startsWith('HTTP/1.1 101')) throw new Error(`it answers ${status} at ${path}`)
}

/** RFC 6455, 5.2: frames of a client are masked; a mask of zeros leaves the bytes as they are. */
function maskedFrame(packet: Buffer): Buffer {
  return Buffer.concat([Buffer.from([0x82, 0x80 | packet.length, 0, 0, 0, 0]), packet])
}

/** Bytes of the frames; what the probe waits for is shorter than 126. */
function framed(read: Read): Read {
  let kept = Buffer.alloc(0)
  return async (bytes, signal) => {
    while (kept.length < bytes) {
      const [, length = 0] = await read(2, signal)
      kept = Buffer.concat([kept, await read(length & 0x7f, signal)])
    }
    const part = kept.subarray(0, bytes)
    kept = kept.subarray(bytes)
    return part
  }
}

/** 3.1, without credentials; in MQTT 5 without properties. */
function connectPacket({ clientId, version, asksOnly = false }: ProbeTarget): Buffer {
  const level = asksOnly ? NEVER_SERVED_LEVEL : LEVELS[version]
  const body = Buffer.concat([
    field(level === LEVELS['3.1'] ? 'MQIsdp' : 'MQTT'),
    Buffer.from([level, CLEAN_SESSION, 0, 30, ...(level === LEVELS['5'] ? [0] : [])]),
    field(clientId),
  ])
  return Buffer.concat([Buffer.from([0x10, body.length]), body])
}

function field(text: string): Buffer {
  return Buffer.concat([Buffer.from([0, text.length]), Buffer.from(text)])
}
