import { ErrorCode } from '../../errors.ts'
import { malformed, PacketFault } from './fault.ts'
import { ReasonCode } from './reason.ts'
import { PacketType } from './types.ts'

export interface PacketSink {
  /** While true no further packet is handed over; what has come waits. */
  readonly held: boolean
  /** Largest packet that is accepted now, in bytes. */
  readonly maxPacketBytes: number
  /** One whole packet: `bytes[packetStart]` is its first byte, its body is `bodyStart` to `end`. */
  packet(bytes: Buffer, packetStart: number, bodyStart: number, end: number): void
}

/**
 * Cuts a byte stream into control packets (MQTT 3.1.1, 2.2). Sans-IO.
 * A packet's size is judged by its fixed header, before anything of its body is kept.
 */
export class Framer {
  readonly #sink: PacketSink
  #parts: Buffer[] = []
  #partsBytes = 0
  /** Bytes that must be there before it is worth looking again. */
  #needBytes = 0

  constructor(sink: PacketSink) {
    this.#sink = sink
  }

  /** Bytes that wait: of a packet that is not complete, or behind a hold. */
  get waitingBytes(): number {
    return this.#partsBytes
  }

  /** @throws PeerError when the bytes cannot be a packet, or one that is too large. */
  receive(chunk: Buffer): void {
    if (this.#partsBytes === 0) {
      this.#scan(chunk)
      return
    }
    const missing = this.#needBytes - this.#partsBytes
    this.#parts.push(chunk)
    this.#partsBytes += chunk.length
    if (missing <= 0 || missing >= chunk.length || this.#sink.held) {
      this.resume()
      return
    }
    // Only the packet that lies across is copied together, and not all that came behind it.
    this.#parts[this.#parts.length - 1] = chunk.subarray(0, missing)
    const packet = Buffer.concat(this.#parts, this.#needBytes)
    this.discard()
    this.#scan(packet)
    const rest = chunk.subarray(missing)
    if (this.#partsBytes === 0 && !this.#sink.held) {
      this.#scan(rest)
      return
    }
    this.#parts.push(rest)
    this.#partsBytes += rest.length
  }

  /** After a hold: goes on with what waits. @throws PeerError */
  resume(): void {
    if (this.#sink.held || this.#partsBytes === 0 || this.#partsBytes < this.#needBytes) return
    const bytes = this.#parts.length === 1 ? this.#parts[0]! : Buffer.concat(this.#parts, this.#partsBytes)
    this.discard()
    this.#scan(bytes)
  }

  discard(): void {
    this.#parts = []
    this.#partsBytes = 0
    this.#needBytes = 0
  }

  #scan(bytes: Buffer): void {
    const sink = this.#sink
    const size = bytes.length
    let offset = 0
    while (offset < size && !sink.held) {
      const first = bytes[offset]!
      checkFirstByte(first)
      let length = 0
      let position = offset + 1
      let shift = 0
      let byte = 0x80
      while (byte & 0x80 && position < size) {
        if (shift > 21) throw malformed('remaining length of more than four bytes') // [MQTT-2.2.3]
        byte = bytes[position++]!
        length |= (byte & 0x7f) << shift
        shift += 7
      }
      if (byte & 0x80) {
        if (shift > 21) throw malformed('remaining length of more than four bytes')
        break
      }
      const end = position + length
      if (end - offset > sink.maxPacketBytes) {
        throw new PacketFault(
          ReasonCode.packetTooLarge,
          `packet of ${end - offset} bytes; ${sink.maxPacketBytes} are allowed here`,
          ErrorCode.limit,
        )
      }
      if (end > size) {
        this.#needBytes = end - offset
        break
      }
      sink.packet(bytes, offset, position, end)
      offset = end
    }
    if (offset < size) {
      this.#parts.push(offset === 0 ? bytes : bytes.subarray(offset))
      this.#partsBytes = size - offset
    }
  }
}

/** The reserved flags of the fixed header (MQTT 3.1.1, 2.2.2). [MQTT-2.2.2-2] */
function checkFirstByte(first: number): void {
  const type = first >> 4
  const flags = first & 0x0f
  switch (type) {
    case PacketType.publish:
      if ((flags & 0x06) === 0x06) throw malformed('QoS 3') // [MQTT-3.3.1-4]
      if ((flags & 0x0e) === 0x08) throw malformed('DUP at QoS 0') // [MQTT-3.3.1-2]
      return
    case PacketType.pubrel:
    case PacketType.subscribe:
    case PacketType.unsubscribe:
      if (flags !== 2) throw malformed('reserved flags are not 0010')
      return
    case PacketType.connect:
    case PacketType.puback:
    case PacketType.pubrec:
    case PacketType.pubcomp:
    case PacketType.pingreq:
    case PacketType.disconnect:
    // Of MQTT 5 alone: the connection knows.
    case PacketType.auth:
      if (flags !== 0) throw malformed('reserved flags are not 0')
      return
    default:
      throw malformed(`packet type ${type} does not come from a client`)
  }
}
