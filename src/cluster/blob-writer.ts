import type { StoredMessage } from '../store/contract.ts'
import { encodeStoredProperties } from '../store/properties.ts'
import {
  BLOB_HEAD_BYTES,
  MAX_TEXT_BYTES,
  MESSAGE_HEAD_BYTES,
  POD_BYTES,
  PROPERTIES_FLAG,
  RECORD_HEAD_BYTES,
  RecordKind,
  VERSION,
} from './blob-format.ts'
import type { PodId } from './contract.ts'

/** A blob goes out at this size, also in the middle of a turn: it is what waits in memory, beside Redis. */
const BLOB_BYTES = 128 * 1024
/** Blobs are cut from pieces of this size, so that small ones do not cost an allocation each. */
const CHUNK_BYTES = 256 * 1024
/** What is in a blob. */
export interface BlobCounts {
  readonly messages: number
  readonly frames: number
}

/** Gathers records for one pod. */
export interface BlobWriter {
  /** `group`: key of a shared subscription. The record, to be copied for others; undefined: a text is too long. */
  message(message: StoredMessage, group: string | undefined): Buffer | undefined
  /** A message that was encoded for another pod. */
  copy(record: Buffer): void
  /** False: a text is too long. */
  frame(mountpoint: string, topic: string, frame: Buffer): boolean
  /** What is gathered goes to `emit`. */
  flush(): void
  readonly bytes: number
}

/** `emit` gets blobs that nobody changes afterwards; it is called from within any of the calls. */
export function createBlobWriter(
  self: () => PodId,
  emit: (blob: Buffer, counts: BlobCounts) => void,
): BlobWriter {
  let chunk = Buffer.alloc(0)
  let start = 0
  let at = 0
  let messages = 0
  let frames = 0

  const flush = (): void => {
    if (messages + frames === 0) return
    const blob = chunk.subarray(start, at)
    const counts = { messages, frames }
    start = at
    messages = frames = 0
    emit(blob, counts)
  }

  /** Room for one more record, in a blob that has begun. */
  const reserve = (bytes: number): void => {
    if (at - start + bytes > BLOB_BYTES) flush()
    if (at + BLOB_HEAD_BYTES + bytes > chunk.length) {
      flush()
      chunk = Buffer.allocUnsafeSlow(Math.max(CHUNK_BYTES, BLOB_HEAD_BYTES + bytes))
      start = at = 0
    }
    if (at > start) return
    chunk[at] = VERSION
    chunk.write(self(), at + 1, POD_BYTES, 'latin1')
    at += BLOB_HEAD_BYTES
  }

  const writeText = (text: string): void => {
    const bytes = chunk.write(text, at + 2)
    chunk.writeUInt16BE(bytes, at)
    at += 2 + bytes
  }

  const endRecord = (record: number): void => {
    chunk.writeUInt32BE(at - record - RECORD_HEAD_BYTES, record + 1)
  }

  return {
    message(message, group) {
      const properties = message.properties && encodeStoredProperties(message.properties)
      if (!fits(message.topic) || !fits(message.publisher) || !fits(group ?? '')) return undefined
      // UTF-8 needs at most three bytes a unit of a JavaScript string.
      const textBytes = 3 * (message.topic.length + message.publisher.length + (group?.length ?? 0))
      const propertiesBytes = properties === undefined ? 0 : 4 + 3 * properties.length
      reserve(
        RECORD_HEAD_BYTES + MESSAGE_HEAD_BYTES + 6 + textBytes + propertiesBytes + message.payload.length,
      )
      const record = at
      chunk[at] = group === undefined ? RecordKind.message : RecordKind.group
      at += RECORD_HEAD_BYTES
      if (group !== undefined) writeText(group)
      chunk[at] = properties === undefined ? 0 : PROPERTIES_FLAG
      chunk.writeDoubleBE(message.publishedAtMs, at + 1)
      chunk.writeDoubleBE(message.expiresAtMs, at + 9)
      at += MESSAGE_HEAD_BYTES
      writeText(message.topic)
      writeText(message.publisher)
      if (properties !== undefined) {
        const bytes = chunk.write(properties, at + 4)
        chunk.writeUInt32BE(bytes, at)
        at += 4 + bytes
      }
      chunk.set(message.payload, at)
      at += message.payload.length
      endRecord(record)
      messages++
      return chunk.subarray(record, at)
    },
    copy(record) {
      reserve(record.length)
      chunk.set(record, at)
      at += record.length
      messages++
    },
    frame(mountpoint, topic, frame) {
      if (!fits(mountpoint) || !fits(topic)) return false
      reserve(RECORD_HEAD_BYTES + 4 + 3 * (mountpoint.length + topic.length) + frame.length)
      const record = at
      chunk[at] = RecordKind.frame
      at += RECORD_HEAD_BYTES
      writeText(mountpoint)
      writeText(topic)
      chunk.set(frame, at)
      at += frame.length
      endRecord(record)
      frames++
      return true
    },
    flush,
    get bytes() {
      return at - start
    },
  }
}

function fits(text: string): boolean {
  return text.length <= MAX_TEXT_BYTES / 3 || Buffer.byteLength(text) <= MAX_TEXT_BYTES
}
