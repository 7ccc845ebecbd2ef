import { createServer, type Socket } from 'node:net'
import { PacketType, readUint16 } from '../load/packets.ts'
import { PacketScanner } from '../load/scanner.ts'

/**
 * Not a broker: it accepts everyone and copies a publisher's bytes to the subscribers of its first topic, unread.
 * So it costs next to nothing, and what the generator reaches against it is the generator's own ceiling. QoS 0 from
 * one publisher to a topic only.
 */

const CONNACK = Buffer.from([PacketType.connack << 4, 2, 0, 0])
const subscribers = new Map<string, Socket[]>()

const server = createServer({ noDelay: true }, (socket) => {
  let copyTo: readonly Socket[] | undefined
  const scanner = new PacketScanner({
    packet: (header, bytes, bodyStart, bodyEnd) => {
      switch (header >> 4) {
        case PacketType.connect:
          socket.write(CONNACK)
          break
        case PacketType.subscribe: {
          const filter = textAt(bytes, bodyStart + 2)
          subscribers.set(filter, [...(subscribers.get(filter) ?? []), socket])
          const [idHigh, idLow, qos] = [bytes[bodyStart], bytes[bodyStart + 1], bytes[bodyEnd - 1]]
          socket.write(Buffer.from([PacketType.suback << 4, 3, idHigh ?? 0, idLow ?? 0, qos ?? 0]))
          break
        }
        case PacketType.publish:
          copyTo ??= subscribers.get(textAt(bytes, bodyStart)) ?? []
          break
        default:
      }
    },
  })
  socket.on('data', (chunk: Buffer) => {
    if (copyTo === undefined) scanner.push(chunk, chunk.length)
    for (const subscriber of copyTo ?? []) subscriber.write(chunk)
  })
  socket.on('error', () => socket.destroy())
})
server.listen(Number(process.argv[2]), '127.0.0.1')

function textAt(bytes: Buffer, at: number): string {
  return bytes.toString('utf8', at + 2, at + 2 + readUint16(bytes, at))
}
