import type { Socket } from 'node:net'
import type { TLSSocket } from 'node:tls'
import type { StreamListenerConfig } from '../config/schema.ts'
import type { Peer } from '../peer.ts'
import type { AdmissionRefusal } from './admission.ts'
import { peerCertificate, tlsFacts } from './certificate.ts'
import type { CidrList } from './cidr.ts'
import { forwardedClient } from './forwarded.ts'
import { refusalResponse, type HttpEntrance, type HttpVisit } from './http-visit.ts'
import type { Lobby, Visitor, VisitorAddress } from './lobby.ts'
import type { ProxyHeader } from './proxy-header.ts'
import { readProxyHeader } from './proxy-reader.ts'
import { StreamTransport } from './stream.ts'
import type { TlsDoor } from './tls.ts'
import type { Transport } from './transport.ts'
import type { VisitReceiver } from './visit.ts'
import { createWebSocketDoor, type UpgradeVerdict } from './upgrade.ts'

export interface EntranceBounds {
  /** From the connection to the end of its PROXY header. */
  readonly proxyHeaderTimeoutMs: number
  readonly tlsHandshakeTimeoutMs: number
  /** From the end of what came before to the end of the HTTP request. */
  readonly upgradeTimeoutMs: number
  readonly maxProxyHeaderBytes: number
}

export interface EntranceOptions {
  readonly config: StreamListenerConfig
  readonly bounds: EntranceBounds
  readonly lobby: Lobby
  /** `trustedProxies` of the listener. */
  readonly trusted: CidrList
  readonly tls: TlsDoor | undefined
  /** Of `http` and `https`. */
  readonly http: HttpEntrance | undefined
  /** Of a listener whose protocol is not MQTT. */
  readonly visits: VisitReceiver | undefined
  connected(transport: Transport): void
}

export interface Entrance {
  enter(socket: Socket): void
}

/**
 * The way of a socket through one listener; steps that the listener does not have are left out:
 *
 *   accept ─▶ PROXY header ─▶ admission ─▶ TLS handshake ─▶ WebSocket upgrade ─▶ Transport
 *                                                        └▶ HTTP requests
 *
 * Admission waits for the request where X-Forwarded-For may still name another address.
 */
export function createEntrance(options: EntranceOptions): Entrance {
  const { config, bounds, lobby, trusted, tls, http, visits } = options
  const proxyProtocol = config.type === 'unix' ? 'off' : config.proxyProtocol
  const webSocketDoor = 'websocket' in config ? createWebSocketDoor(config.websocket) : undefined

  function enter(socket: Socket): void {
    const visitor = lobby.enter(socket)
    if (visitor === undefined) return
    // `trusted`: everyone else is a direct client, whose header is data like any other and is refused as such. A trusted
    // proxy must send one: without, all its clients would share its address, and could send a header of their own.
    const expectsHeader =
      proxyProtocol === 'required' || (proxyProtocol === 'trusted' && trusted.contains(visitor.socketAddress))
    if (!expectsHeader) {
      identified(visitor)
      return
    }
    lobby.expect(visitor, 'proxy-header', bounds.proxyHeaderTimeoutMs)
    readProxyHeader(socket, {
      maxHeaderBytes: bounds.maxProxyHeaderBytes,
      header(header, headerBytes) {
        take(visitor, header, headerBytes)
        identified(visitor)
      },
      invalid: (reason) => lobby.refuse(visitor, 'proxy-header', reason),
    })
  }

  function identified(visitor: Visitor): void {
    const readsForwardedFor = webSocketDoor !== undefined || http !== undefined
    const mayBeForwarded = readsForwardedFor && trusted.contains(visitor.address)
    const refusal = mayBeForwarded ? undefined : lobby.admit(visitor)
    if (refusal !== undefined) {
      const farewell =
        http !== undefined && tls === undefined ? httpFarewell(visitor.socket, refusal) : undefined
      lobby.refuse(visitor, refusal, undefined, farewell)
    } else if (tls === undefined) opened(visitor, visitor.socket)
    else {
      lobby.expect(visitor, 'tls-handshake', bounds.tlsHandshakeTimeoutMs)
      tls.accept(visitor.socket, {
        secured: (socket) => opened(visitor, socket, socket),
        failed: (detail) => lobby.failed(visitor, detail),
      })
    }
  }

  function opened(visitor: Visitor, socket: Socket, secured?: TLSSocket): void {
    if (http !== undefined && 'http' in config) {
      lobby.expect(visitor, 'http-request', config.http.headerTimeoutMs)
      http.accept(socket, visitOf(visitor, secured))
      return
    }
    if (visits !== undefined) {
      lobby.expect(visitor, 'request', visits.requestTimeoutMs)
      visits.receive(socket, {
        peer: peerOf(visitor, secured),
        connected: () => lobby.connect(visitor),
        failed: (detail, farewell) => lobby.failed(visitor, detail, farewell),
      })
      return
    }
    if (webSocketDoor === undefined) {
      connect(visitor, new StreamTransport(socket, peerOf(visitor, secured)))
      return
    }
    lobby.expect(visitor, 'websocket-upgrade', bounds.upgradeTimeoutMs)
    webSocketDoor.accept(socket, {
      admit: (forwardedFor) => admitForwarded(visitor, forwardedFor, secured),
      refused(refusal) {
        const farewell = (): void => refusal.farewell()
        if (refusal.reason === undefined) lobby.failed(visitor, refusal.detail, farewell)
        else lobby.refuse(visitor, refusal.reason, undefined, farewell)
      },
      connected: (transport) => connect(visitor, transport),
    })
  }

  /** X-Forwarded-For is believed from a trusted proxy only, also if that one is itself behind a PROXY header. */
  function admitForwarded(visitor: Visitor, header: string | undefined, secured?: TLSSocket): UpgradeVerdict {
    const client = trusted.contains(visitor.address) ? forwardedClient(header, trusted) : undefined
    if (client !== undefined) {
      visitor.address = client.address
      visitor.port = client.port
      visitor.addressSource = 'x-forwarded-for'
    }
    const refusal = lobby.admit(visitor)
    if (refusal !== undefined) return { refusal, detail: refusal }
    return { peer: peerOf(visitor, secured) }
  }

  function visitOf(visitor: Visitor, secured: TLSSocket | undefined): HttpVisit {
    const { address, port, addressSource } = visitor
    const self: VisitorAddress = { address, port, addressSource }
    const isTrusted = trusted.contains(address)
    /** Its certificate is read once, not for each request. */
    let own: Peer | undefined
    return {
      identify(forwardedFor) {
        const client = isTrusted ? forwardedClient(forwardedFor, trusted) : undefined
        const refusal = lobby.readmit(
          visitor,
          client ? { ...client, addressSource: 'x-forwarded-for' } : self,
        )
        if (refusal !== undefined) {
          // The answer is written by whoever reads the request.
          lobby.refuse(visitor, refusal, undefined, () => {})
          return { refusal }
        }
        lobby.connect(visitor)
        own ??= peerOf(visitor, secured)
        return { peer: isTrusted ? { ...own, ...lobby.peer(visitor) } : own }
      },
      another: () => lobby.admitAnother(visitor),
      failed: (detail, farewell) => {
        if (visitor.outcome === 'connected') farewell()
        else lobby.failed(visitor, detail, farewell)
      },
    }
  }

  function connect(visitor: Visitor, transport: Transport): void {
    lobby.connect(visitor)
    options.connected(transport)
  }

  function peerOf(visitor: Visitor, secured: TLSSocket | undefined): Peer {
    const peer = lobby.peer(visitor)
    if (secured === undefined) return peer
    const certificate = peerCertificate(secured)
    return { ...peer, tls: tlsFacts(secured), ...(certificate === undefined ? {} : { certificate }) }
  }
  return { enter }
}

/** Who is not let in is told so without having been asked what for. */
function httpFarewell(socket: Socket, refusal: AdmissionRefusal): () => void {
  return () => {
    socket.end(refusalResponse(refusal))
    // Read what is left, or the close becomes a reset and the answer is lost.
    socket.resume()
  }
}

function take(visitor: Visitor, header: ProxyHeader, headerBytes: number): void {
  visitor.headerBytes = headerBytes
  visitor.proxyCertificateName = header.certificateName
  if (header.source === undefined) return
  visitor.address = header.source.address
  visitor.port = header.source.port
  visitor.addressSource = header.version === 1 ? 'proxy-v1' : 'proxy-v2'
}
