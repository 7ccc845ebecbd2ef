import { isUtf8 } from 'node:buffer'
import type { StoredMessage, StoredProperties } from '../store/contract.ts'
import { decodeStoredProperties } from '../store/properties.ts'
import {
  BLOB_HEAD_BYTES,
  MESSAGE_HEAD_BYTES,
  POD_BYTES,
  PROPERTIES_FLAG,
  RECORD_HEAD_BYTES,
  RecordKind,
  VERSION,
} from './blob-format.ts'
import type { PodId } from './contract.ts'

/** A payload that is a smaller part of its blob than this is copied, or a slow reader of it would keep the whole blob. */
const KEEPABLE_PART = 1 / 16

/** Where records go. Payloads and frames are slices of the blob, which is nobody else's. */
export interface BlobSink {
  message(message: StoredMessage, group: string | undefined): void
  frame(pod: PodId, mountpoint: string, topic: string, frame: Buffer): void
}

/** Name of a pod (PodId). */
const POD = /^[0-9a-f]{16}$/

/** Texts are mostly those of the record before: they are compared as bytes, and not made again. */
interface TextMemo {
  read(blob: Buffer, from: number, to: number): string | undefined
}

function createTextMemo(isAllowed: (text: string) => boolean): TextMemo {
  let bytes: Buffer = Buffer.alloc(0)
  let text: string | undefined
  return {
    read(blob, from, to) {
      if (
        text !== undefined &&
        to - from === bytes.length &&
        blob.compare(bytes, 0, bytes.length, from, to) === 0
      )
        return text
      const slice = blob.subarray(from, to)
      if (!isUtf8(slice)) return undefined
      const decoded = slice.toString('utf8')
      if (!isAllowed(decoded)) return undefined
      bytes = Buffer.from(slice)
      text = decoded
      return text
    },
  }
}

// [MQTT-3.3.2-2] [MQTT-4.7.3-1] [MQTT-4.7.3-2]: a client that were sent another would have to close.
function isTopicName(text: string): boolean {
  return text !== '' && !text.includes('+') && !text.includes('#') && !text.includes('\0')
}

export type BlobStep = 'more' | 'end' | 'garbage'

export interface BlobReader {
  /** Takes a blob; what was left of the one before is forgotten. False: it does not begin as one. */
  open(blob: Buffer): boolean
  /** Gives one record to the sink. `garbage`: what is left of the blob cannot be understood. */
  next(): BlobStep
}

export function createBlobReader(sink: BlobSink): BlobReader {
  const topics = createTextMemo(isTopicName)
  const publishers = createTextMemo(() => true)
  const groups = createTextMemo((text) => text !== '')
  const mountpoints = createTextMemo(() => true)
  let blob: Buffer = Buffer.alloc(0)
  let pod = ''
  let at = 0
  /** End of the record, and where the next text begins. */
  let end = 0

  const readText = (memo: TextMemo): string | undefined => {
    const from = at + 2
    if (from > end) return undefined
    const to = from + blob.readUInt16BE(at)
    if (to > end) return undefined
    at = to
    return memo.read(blob, from, to)
  }

  const readProperties = (): StoredProperties | undefined => {
    const from = at + 4
    if (from > end) return undefined
    const to = from + blob.readUInt32BE(at)
    if (to > end) return undefined
    at = to
    const json = blob.subarray(from, to)
    return isUtf8(json) ? decodeStoredProperties(json.toString()) : undefined
  }

  const readMessage = (isForGroup: boolean): boolean => {
    const group = isForGroup ? readText(groups) : undefined
    if (isForGroup && group === undefined) return false
    if (at + MESSAGE_HEAD_BYTES > end) return false
    const flags = blob[at] ?? 0
    const publishedAtMs = blob.readDoubleBE(at + 1)
    const expiresAtMs = blob.readDoubleBE(at + 9)
    if (flags > PROPERTIES_FLAG || !Number.isFinite(publishedAtMs) || !Number.isFinite(expiresAtMs))
      return false
    at += MESSAGE_HEAD_BYTES
    const topic = readText(topics)
    if (topic === undefined) return false
    const publisher = readText(publishers)
    if (publisher === undefined) return false
    const properties = flags === PROPERTIES_FLAG ? readProperties() : undefined
    if (flags === PROPERTIES_FLAG && properties === undefined) return false
    const slice = blob.subarray(at, end)
    const payload = slice.length < blob.length * KEEPABLE_PART ? Buffer.from(slice) : slice
    at = end
    sink.message(
      {
        topic,
        payload,
        qos: 0,
        retain: false,
        publisher,
        publishedAtMs,
        expiresAtMs,
        ...(properties === undefined ? undefined : { properties }),
      },
      group,
    )
    return true
  }

  const readFrame = (): boolean => {
    const mountpoint = readText(mountpoints)
    if (mountpoint === undefined) return false
    const topic = readText(topics)
    if (topic === undefined) return false
    const frame = blob.subarray(at, end)
    at = end
    sink.frame(pod, mountpoint, topic, frame)
    return true
  }

  return {
    open(next) {
      blob = next
      at = end = blob.length
      if (blob.length < BLOB_HEAD_BYTES || blob[0] !== VERSION) return false
      pod = blob.toString('latin1', 1, 1 + POD_BYTES)
      if (!POD.test(pod)) return false
      at = end = BLOB_HEAD_BYTES
      return true
    },
    next() {
      if (at === blob.length) return 'end'
      const kind = blob[at]
      const from = at + RECORD_HEAD_BYTES
      if (from > blob.length) return 'garbage'
      end = from + blob.readUInt32BE(at + 1)
      if (end > blob.length) return 'garbage'
      at = from
      if (kind === RecordKind.frame) return readFrame() ? 'more' : 'garbage'
      if (kind !== RecordKind.message && kind !== RecordKind.group) return 'garbage'
      return readMessage(kind === RecordKind.group) ? 'more' : 'garbage'
    },
  }
}

/** Of a blob that is dropped unread; of garbage: as far as it can be told. */
export function countRecords(blob: Buffer): number {
  let count = 0
  for (let at = BLOB_HEAD_BYTES; at + RECORD_HEAD_BYTES <= blob.length; count++)
    at += RECORD_HEAD_BYTES + blob.readUInt32BE(at + 1)
  return count
}
