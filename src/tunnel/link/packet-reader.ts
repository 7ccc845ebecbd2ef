import { ErrorCode, PeerError } from '../../errors.ts'
import { PacketType } from './packets.ts'

/** A frame is at most 64 KiB and a little; the rest is for what a foreign broker may send us. */
const MAX_PACKET_BYTES = 262_144

/** What a broker sends to an end of a tunnel. */
export interface PacketSink {
  connack(code: number): void
  suback(packetId: number, code: number): void
  /** `bytes` holds the topic and, up to `end`, the payload; it may be kept. */
  publish(
    bytes: Buffer,
    topicStart: number,
    topicEnd: number,
    payloadStart: number,
    end: number,
    isRetained: boolean,
  ): void
  /** QoS 1 or 2; told behind `publish`. */
  mustAck(qos: number, packetId: number): void
  pubrel(packetId: number): void
  pingresp(): void
}

/**
 * Cuts a byte stream into packets (MQTT 3.1.1, 2.2), however it comes in pieces. Sans-IO.
 * A packet that lies within one piece is not copied; only one that lies across pieces is put together.
 */
export class PacketReader {
  readonly #sink: PacketSink
  #isStopped = false
  /** Begun fixed header of a packet: it lies across two pieces itself. */
  readonly #header = Buffer.alloc(5)
  #headerBytes = 0
  /** A packet whose body is still coming: room for all of it, and how much is there. */
  #packet: Buffer | undefined
  #packetBytes = 0
  #bodyStart = 0

  constructor(sink: PacketSink) {
    this.#sink = sink
  }

  /** Nothing more is handed over, also not what is left of the piece that is being read. */
  stop(): void {
    this.#isStopped = true
    this.#packet = undefined
  }

  /** @throws PeerError when a broker cannot have meant that. */
  receive(chunk: Buffer): void {
    let offset = this.#packet === undefined ? 0 : this.#fill(chunk, 0)
    while (offset < chunk.length && !this.#isStopped) {
      offset = this.#headerBytes > 0 ? this.#continueHeader(chunk, offset) : this.#next(chunk, offset)
    }
  }

  /** Reads the packet that begins at `offset`; returns where the next one begins. */
  #next(chunk: Buffer, offset: number): number {
    let length = 0
    let position = offset + 1
    let shift = 0
    let byte = 0x80
    while (byte & 0x80 && position < chunk.length) {
      if (shift > 21) throw malformed('remaining length of more than four bytes')
      byte = chunk[position++]!
      length |= (byte & 0x7f) << shift
      shift += 7
    }
    if (byte & 0x80) {
      if (shift > 21) throw malformed('remaining length of more than four bytes')
      this.#headerBytes = chunk.copy(this.#header, 0, offset)
      return chunk.length
    }
    const end = position + length
    checkSize(end - offset)
    if (end <= chunk.length) {
      this.#hand(chunk, offset, position, end)
      return end
    }
    this.#begin(end - offset, position - offset)
    return this.#fill(chunk, offset)
  }

  #continueHeader(chunk: Buffer, offset: number): number {
    const header = this.#header
    while (offset < chunk.length) {
      const byte = chunk[offset++]!
      header[this.#headerBytes++] = byte
      if ((byte & 0x80) === 0) {
        const headerBytes = this.#headerBytes
        let length = 0
        for (let i = headerBytes - 1; i > 0; i--) length = length * 128 + (header[i]! & 0x7f)
        checkSize(headerBytes + length)
        this.#headerBytes = 0
        this.#begin(headerBytes + length, headerBytes)
        this.#packetBytes = header.copy(this.#packet!, 0, 0, headerBytes)
        return this.#fill(chunk, offset)
      }
      if (this.#headerBytes === header.length) throw malformed('remaining length of more than four bytes')
    }
    return offset
  }

  #begin(size: number, bodyStart: number): void {
    this.#packet = Buffer.allocUnsafe(size)
    this.#packetBytes = 0
    this.#bodyStart = bodyStart
  }

  /** Adds to the packet that was begun; returns the offset of what does not belong to it. */
  #fill(chunk: Buffer, offset: number): number {
    const packet = this.#packet!
    const taken = chunk.copy(packet, this.#packetBytes, offset)
    this.#packetBytes += taken
    if (this.#packetBytes === packet.length) {
      this.#packet = undefined
      this.#hand(packet, 0, this.#bodyStart, packet.length)
    }
    return offset + taken
  }

  #hand(bytes: Buffer, start: number, bodyStart: number, end: number): void {
    const first = bytes[start]!
    switch (first >> 4) {
      case PacketType.publish:
        this.#publish(bytes, first & 0x0f, bodyStart, end)
        return
      case PacketType.pingresp:
        this.#sink.pingresp()
        return
      case PacketType.connack:
        checkBody(end - bodyStart, 2)
        this.#sink.connack(bytes[bodyStart + 1]!)
        return
      case PacketType.suback:
        checkBody(end - bodyStart, 3) // one filter in each SUBSCRIBE of ours
        this.#sink.suback(bytes.readUInt16BE(bodyStart), bytes[bodyStart + 2]!)
        return
      case PacketType.pubrel:
        checkBody(end - bodyStart, 2)
        this.#sink.pubrel(bytes.readUInt16BE(bodyStart))
        return
      default:
        throw malformed(`packet type ${first >> 4}, which nothing here has asked for`)
    }
  }

  #publish(bytes: Buffer, flags: number, bodyStart: number, end: number): void {
    const topicStart = bodyStart + 2
    const topicEnd = topicStart > end ? topicStart : topicStart + bytes.readUInt16BE(bodyStart)
    const qos = (flags >> 1) & 3
    const payloadStart = qos === 0 ? topicEnd : topicEnd + 2
    if (payloadStart > end || qos === 3) throw malformed('PUBLISH')
    this.#sink.publish(bytes, topicStart, topicEnd, payloadStart, end, (flags & 1) !== 0)
    if (qos > 0 && !this.#isStopped) this.#sink.mustAck(qos, bytes.readUInt16BE(topicEnd))
  }
}

function checkSize(size: number): void {
  if (size > MAX_PACKET_BYTES) throw malformed(`packet of ${size} bytes; ${MAX_PACKET_BYTES} are taken here`)
}

function checkBody(size: number, expected: number): void {
  if (size !== expected) throw malformed(`packet with a body of ${size} bytes where ${expected} belong`)
}

const malformed = (what: string): PeerError =>
  new PeerError(ErrorCode.protocol, `the broker has sent a ${what}`)
