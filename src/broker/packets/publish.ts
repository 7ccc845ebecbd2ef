import { malformed } from './fault.ts'
import { decodeString } from './strings.ts'

/** A PUBLISH, as the broker takes it. */
export type PublishInput = Readonly<
  Pick<PublishFields, 'topic' | 'qos' | 'retain' | 'dup' | 'messageId' | 'payload' | 'packet'>
>

/** Fields of a PUBLISH (MQTT 3.1.1, 3.3). One object is used again and again: read it, do not keep it. */
export class PublishFields {
  topic = ''
  qos: 0 | 1 | 2 = 0
  retain = false
  dup = false
  messageId = 0
  payload: Buffer = EMPTY
  /** Publishers repeat their topic: the bytes of the last one spare its decoding. */
  #lastTopicBytes: Buffer = EMPTY
  #bytes: Buffer = EMPTY
  #start = 0
  #end = 0

  /** The whole packet, to be sent on as it came. */
  get packet(): Buffer {
    return this.#bytes.subarray(this.#start, this.#end)
  }

  /** @throws PeerError when malformed. */
  decode(bytes: Buffer, packetStart: number, bodyStart: number, end: number): void {
    const first = bytes[packetStart]!
    this.qos = ((first >> 1) & 3) as 0 | 1 | 2
    this.retain = (first & 1) !== 0
    this.dup = (first & 8) !== 0
    if (end - bodyStart < 2) throw malformed('PUBLISH without a topic')
    const topicStart = bodyStart + 2
    const topicEnd = topicStart + ((bytes[bodyStart]! << 8) | bytes[bodyStart + 1]!)
    let position = topicEnd
    if (this.qos > 0) position += 2
    if (position > end) throw malformed('topic reaches beyond the packet')
    this.#readTopic(bytes, topicStart, topicEnd)
    if (this.qos > 0) {
      this.messageId = (bytes[topicEnd]! << 8) | bytes[topicEnd + 1]!
      if (this.messageId === 0) throw malformed('packet identifier 0') // [MQTT-2.3.1-1]
    } else this.messageId = 0
    this.payload = bytes.subarray(position, end)
    this.#bytes = bytes
    this.#start = packetStart
    this.#end = end
  }

  #readTopic(bytes: Buffer, start: number, end: number): void {
    const last = this.#lastTopicBytes
    const length = end - start
    if (length === last.length && length > 0) {
      let i = 0
      while (i < length && bytes[start + i] === last[i]) i++
      if (i === length) return
    }
    this.topic = decodeString(bytes, start, end, 'topic')
    this.#lastTopicBytes = Buffer.from(bytes.subarray(start, end))
  }
}

const EMPTY = Buffer.alloc(0)
