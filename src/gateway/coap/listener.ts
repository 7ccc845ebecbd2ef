import { createSocket, type Socket } from 'node:dgram'
import { once } from 'node:events'
import { lookup } from 'node:dns/promises'
import type { OpenDoorClient } from '../../broker/door/contract.ts'
import type { ListenerProfile } from '../../broker/listener-profile.ts'
import type { ListenerConfig } from '../../config/schema.ts'
import type { Admission } from '../../listeners/admission.ts'
import { listenError, listenerName, listenerUrl } from '../../listeners/bind.ts'
import type { Listener, ListenerEvents } from '../../listeners/listener.ts'
import type { CoapFigures } from './counts.ts'
import { CoapServer } from './server.ts'

export type CoapListenerConfig = Extract<ListenerConfig, { type: 'coap' }>

export interface CoapListenerOptions {
  readonly profile: ListenerProfile
  readonly admission: Admission
  readonly openDoorClient: OpenDoorClient
  readonly events: Pick<ListenerEvents, 'refused' | 'error'>
}

export interface CoapListener extends Listener {
  readonly figures: CoapFigures
}

/**
 * Opens a listener for CoAP over UDP. Its connections are the clients that it has in the broker.
 * @throws {TunnelMQError} TMQ_LISTEN.
 */
export async function openCoapListener(
  config: CoapListenerConfig,
  options: CoapListenerOptions,
): Promise<CoapListener> {
  const { admission, events, profile, openDoorClient } = options
  let socket = await bind(config)
  const { port } = socket.address()
  const name = listenerName(config, port)
  let state: 'accepting' | 'stopped' | 'closed' = 'accepting'

  const server = new CoapServer({
    config: config.coap,
    profile,
    openDoorClient,
    admission,
    listener: { name, maxConnections: config.maxConnections },
    // A datagram that cannot be sent is one that is lost: CoAP is made for that.
    send: (datagram, address, to) => {
      if (hasSocket) socket.send(datagram, to, address, () => undefined)
    },
    refused: (address, from, reason) =>
      events.refused({
        address,
        port: from,
        socketAddress: address,
        listener: name,
        transport: 'coap',
        reason,
      }),
    failed: (error) => events.error(error instanceof Error ? error : new Error(String(error))),
    // What was just sent goes out first.
    idle: () => void (state === 'stopped' && setImmediate(free)),
  })
  let hasSocket = true
  serve()

  function serve(): void {
    socket.on('message', (datagram, { address, port: from }) => {
      if (state !== 'closed') server.receive(datagram, address, from)
    })
    socket.on('error', (error) => events.error(error))
  }

  /** Those whose socket it was have gone. */
  function free(): void {
    if (state !== 'stopped' || !hasSocket || !server.isIdle) return
    hasSocket = false
    socket.close()
  }

  async function acceptAgain(): Promise<void> {
    if (state !== 'stopped') return
    if (!hasSocket) {
      const again = await bind({ ...config, port })
      if (state !== 'stopped') {
        again.close()
        return
      }
      socket = again
      hasSocket = true
      serve()
    }
    state = 'accepting'
    server.sessions.stop(false)
  }

  return {
    name,
    config,
    port,
    url: listenerUrl(config, port),
    get connectionCount() {
      return server.sessions.size
    },
    get figures() {
      return server.figures
    },
    certificateEndsAtMs: undefined,
    // The socket stays while there are clients: it is theirs, too, and observers are told of the end.
    stopAccepting() {
      if (state === 'accepting') state = 'stopped'
      server.sessions.stop(true)
      free()
      return Promise.resolve()
    },
    acceptAgain,
    reloadCertificates: () => Promise.resolve(),
    async close() {
      if (state === 'closed') return
      state = 'closed'
      server.sessions.stop(true)
      server.close()
      if (!hasSocket) return
      hasSocket = false
      const closed = once(socket, 'close')
      socket.close()
      await closed
    },
  }
}

async function bind(config: CoapListenerConfig): Promise<Socket> {
  try {
    const { address, family } = await lookup(config.host)
    const socket = createSocket(family === 6 ? 'udp6' : 'udp4')
    try {
      socket.bind({ address, port: config.port, exclusive: true })
      await once(socket, 'listening')
    } catch (error) {
      socket.close()
      throw error
    }
    return socket
  } catch (error) {
    throw listenError(config, error as NodeJS.ErrnoException)
  }
}
