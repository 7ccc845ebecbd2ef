import { readSync } from 'node:fs'
import { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { TLSSocket } from 'node:tls'

/** RST instead of FIN, where there is such a thing. */
export function resetSocket(socket: Duplex): void {
  if (!(socket instanceof Socket) || socket.destroyed) socket.destroy()
  else if (socket.connecting) resetConnecting(socket)
  else if (socket.remoteAddress === undefined) socket.destroy()
  else if (isShuttingDown(socket)) socket.once('finish', () => resetSocket(socket))
  else if (socket instanceof TLSSocket) resetBelow(socket)
  else socket.resetAndDestroy()
}

/** A TLS socket throws when it is reset. Node documents no way to the one below it: listeners/tls.ts. */
function resetBelow(socket: TLSSocket): void {
  const { _parent: below } = socket as TLSSocket & { readonly _parent?: Socket }
  if (below === undefined) socket.destroy()
  else resetSocket(below)
}

/** The kernel may have connected it before this process has heard: one poll of the event loop brings the news. */
function resetConnecting(socket: Socket): void {
  socket.once('connect', () => resetSocket(socket))
  setImmediate(() => setImmediate(() => socket.connecting && socket.destroy()))
}

/** While its FIN is on the way to the kernel libuv refuses the reset (EINVAL), and Node then loses the open socket. */
function isShuttingDown({ writableEnded, writableFinished, writableLength }: Socket): boolean {
  return writableEnded && !writableFinished && writableLength === 0
}

const ONE_BYTE = Buffer.alloc(1)

/**
 * The reset that a socket has told as its end, if it was one: when it comes right behind bytes, libuv takes it for an end
 * in order (uv__stream_io, at POLLHUP). The kernel has the error for the next read, which has nothing to take by then.
 */
export function hiddenReset(socket: Duplex): NodeJS.ErrnoException | undefined {
  if (!(socket instanceof Socket) || socket instanceof TLSSocket) return undefined
  // Node documents no way to it; where there is none (Windows) it is -1.
  const { _handle: handle } = socket as Socket & { readonly _handle?: { readonly fd?: number } | null }
  if (handle?.fd === undefined || handle.fd < 0) return undefined
  try {
    readSync(handle.fd, ONE_BYTE)
    return undefined
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    return code === 'ECONNRESET' ? (error as NodeJS.ErrnoException) : undefined
  }
}
