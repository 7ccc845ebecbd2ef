import { HEADER_BYTES, writeFrameHeader, type FrameHeader } from '../protocol/frame.ts'

const PUBLISH_QOS0 = 0x30

/** A frame in a PUBLISH at QoS 0 (MQTT 3.1.1, 3.3), and the frame inside it. */
export interface FramePacket {
  readonly packet: Buffer
  readonly frame: Buffer
}

/** `topic` is ASCII: names and our own prefix (docs/tunnel-protocol.md 2.1). */
export function encodeFramePacket(topic: string, header: FrameHeader, payload?: Buffer): FramePacket {
  const { packet, at } = begin(topic, HEADER_BYTES + (payload?.length ?? 0))
  const body = writeFrameHeader(packet, at, header)
  if (payload !== undefined) packet.set(payload, body)
  return { packet, frame: packet.subarray(at) }
}

/** The packet of a whole frame. */
export function wrapFrame(topic: string, frame: Buffer): Buffer {
  const { packet, at } = begin(topic, frame.length)
  packet.set(frame, at)
  return packet
}

function begin(topic: string, frameBytes: number): { packet: Buffer; at: number } {
  let remaining = 2 + topic.length + frameBytes
  const lengthBytes = remaining < 128 ? 1 : remaining < 16_384 ? 2 : 3
  const packet = Buffer.allocUnsafe(1 + lengthBytes + remaining)
  packet[0] = PUBLISH_QOS0
  let at = 1
  while (remaining > 127) {
    packet[at++] = (remaining & 127) | 128
    remaining >>>= 7
  }
  packet[at++] = remaining
  packet.writeUInt16BE(topic.length, at)
  at += 2
  at += packet.write(topic, at, 'latin1')
  return { packet, at }
}
