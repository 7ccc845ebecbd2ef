import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { countRecords, createBlobReader } from '../../../src/cluster/blob-reader.ts'
import { createBlobWriter, type BlobCounts } from '../../../src/cluster/blob-writer.ts'
import type { StoredMessage } from '../../../src/store/contract.ts'
import { illegalStrings } from '../../support/illegal-strings.ts'

const pod = '0123456789abcdef'

type Given =
  | { readonly kind: 'message'; readonly message: StoredMessage; readonly group: string | undefined }
  | { readonly kind: 'frame'; readonly mountpoint: string; readonly topic: string; readonly frame: Buffer }

function write(records: readonly Given[]): { blobs: Buffer[]; counts: BlobCounts[] } {
  const blobs: Buffer[] = []
  const counts: BlobCounts[] = []
  const writer = createBlobWriter(
    () => pod,
    (blob, count) => {
      blobs.push(blob)
      counts.push(count)
    },
  )
  for (const record of records)
    if (record.kind === 'message') writer.message(record.message, record.group)
    else writer.frame(record.mountpoint, record.topic, record.frame)
  writer.flush()
  return { blobs, counts }
}

function read(blobs: readonly Buffer[]): { records: Given[]; garbage: number } {
  const records: Given[] = []
  let garbage = 0
  const reader = createBlobReader({
    message: (message, group) => void records.push({ kind: 'message', message, group }),
    frame(from, mountpoint, topic, frame) {
      expect(from).toBe(pod)
      records.push({ kind: 'frame', mountpoint, topic, frame })
    },
  })
  for (const blob of blobs) {
    let step = reader.open(blob) ? reader.next() : 'garbage'
    while (step === 'more') step = reader.next()
    if (step === 'garbage') garbage++
  }
  return { records, garbage }
}

const text = fc.string({ unit: 'grapheme' })
const topic = text.map((part) => `t${part.replaceAll(/[+#\0]/g, '')}`)
const bytes = (maxLength: number): fc.Arbitrary<Buffer> =>
  fc.uint8Array({ maxLength }).map((array) => Buffer.from(array))
const time = fc.double({ noNaN: true, noDefaultInfinity: true })

const record: fc.Arbitrary<Given> = fc.oneof(
  fc.record({
    kind: fc.constant('message' as const),
    message: fc
      .record({
        topic,
        payload: bytes(300),
        publisher: text,
        publishedAtMs: time,
        expiresAtMs: time,
        properties: fc.option(
          fc.constant({
            contentType: 'x',
            correlationData: Buffer.of(0, 255),
            userProperties: [['a', 'ü']] as const,
          }),
          { nil: undefined },
        ),
      })
      .map(({ properties, ...rest }) => ({
        ...rest,
        qos: 0 as const,
        retain: false,
        ...(properties === undefined ? {} : { properties }),
      })),
    group: fc.option(
      text.map((key) => `g/${key}`),
      { nil: undefined },
    ),
  }),
  fc.record({
    kind: fc.constant('frame' as const),
    mountpoint: text,
    topic,
    frame: bytes(600),
  }),
)

function messageOf(payload: Buffer, name = 'a/b'): Given {
  return {
    kind: 'message',
    message: {
      topic: name,
      payload,
      qos: 0,
      retain: false,
      publisher: 'p',
      publishedAtMs: 1,
      expiresAtMs: 0,
    },
    group: undefined,
  }
}

describe('blobs of records between pods', () => {
  it('give back what was written, in order', () => {
    fc.assert(
      fc.property(fc.array(record, { maxLength: 40 }), (records) => {
        const { blobs } = write(records)
        expect(read(blobs)).toEqual({ records, garbage: 0 })
        expect(blobs.reduce((sum, blob) => sum + countRecords(blob), 0)).toBe(records.length)
      }),
    )
  })

  it('are cut at 128 KiB, and hold a larger record alone', () => {
    const payloads = [100_000, 100_000, 20_000, 1_000_000, 10].map((length) => Buffer.alloc(length, 1))
    const { blobs, counts } = write(payloads.map((payload) => messageOf(payload)))
    expect(counts.map(({ messages }) => messages)).toEqual([1, 2, 1, 1])
    expect(blobs.map((blob) => Math.round(blob.length / 1000))).toEqual([100, 120, 1000, 0])
    expect(read(blobs).records).toHaveLength(5)
  })

  it('are not changed by what is written afterwards', () => {
    const records = Array.from({ length: 5_000 }, (_, index) =>
      messageOf(Buffer.alloc(100, index), `t/${index % 3}`),
    )
    const { blobs } = write(records)
    expect(blobs.length).toBeGreaterThan(3)
    expect(read(blobs)).toEqual({ records, garbage: 0 })
  })

  it('take a record that was encoded for another pod', () => {
    const taken: Buffer[] = []
    const first = createBlobWriter(
      () => pod,
      () => undefined,
    )
    const second = createBlobWriter(
      () => pod,
      (blob) => taken.push(blob),
    )
    const given = messageOf(Buffer.from('x'))
    if (given.kind !== 'message') return
    second.copy(first.message(given.message, 'g/a') ?? Buffer.alloc(0))
    second.flush()
    expect(read(taken).records).toEqual([{ ...given, group: 'g/a' }])
  })

  it('refuse texts above 65535 bytes, and go on', () => {
    const blobs: Buffer[] = []
    const writer = createBlobWriter(
      () => pod,
      (blob) => blobs.push(blob),
    )
    const given = messageOf(Buffer.from('x'), 'ä'.repeat(32_768))
    if (given.kind !== 'message') return
    expect(writer.message(given.message, undefined)).toBeUndefined()
    expect(writer.frame('m'.repeat(65_536), 't', Buffer.alloc(1))).toBe(false)
    expect(writer.frame('m'.repeat(65_535), 't', Buffer.alloc(1))).toBe(true)
    writer.flush()
    expect(read(blobs).records).toHaveLength(1)
  })

  it('copy a small payload, so that it does not keep its blob in memory', () => {
    const { blobs } = write(Array.from({ length: 500 }, () => messageOf(Buffer.alloc(100))))
    const buffers = read(blobs).records.map((each) => each.kind === 'message' && each.message.payload.buffer)
    expect(buffers).toHaveLength(500)
    expect(buffers).not.toContain(blobs[0]?.buffer)
  })

  it('never throw, whatever bytes come', () => {
    const head = Buffer.concat([Buffer.of(1), Buffer.from(pod)])
    fc.assert(
      fc.property(bytes(400), fc.boolean(), (garbage, withHead) => {
        const blob = withHead ? Buffer.concat([head, garbage]) : garbage
        read([blob])
        countRecords(blob)
      }),
      { numRuns: 2_000 },
    )
  })

  it('never throw for a blob that was changed, and give only whole records', () => {
    fc.assert(
      fc.property(
        fc.array(record, { minLength: 1, maxLength: 6 }),
        fc.array(fc.tuple(fc.nat(), fc.nat(255)), { minLength: 1, maxLength: 4 }),
        fc.nat(),
        (records, changes, cut) => {
          const [blob = Buffer.alloc(0)] = write(records).blobs
          const changed = Buffer.from(blob)
          for (const [at, value] of changes)
            if (at % changed.length === 0 || at % changed.length > 16) changed[at % changed.length] = value
          const { records: found } = read([changed.subarray(0, 17 + (cut % (changed.length - 16)))])
          for (const each of found) {
            const name = each.kind === 'message' ? each.message.topic : each.topic
            expect(name).toMatch(/^[^+#\0]+$/su)
          }
        },
      ),
      { numRuns: 2_000 },
    )
  })

  it.each(illegalStrings)('take %s in a topic for garbage, and what follows too', (_name, illegal) => {
    const name = Buffer.concat([Buffer.from('t'), illegal])
    const placeholder = 'y'.repeat(name.length)
    const { blobs } = write([messageOf(Buffer.from('1'), placeholder), messageOf(Buffer.from('2'))])
    const [blob = Buffer.alloc(0)] = blobs
    name.copy(blob, blob.indexOf(placeholder))
    expect(read([blob])).toEqual({ records: [], garbage: 1 })
  })

  it.each([
    ['an unknown kind', 17, 9],
    ['a kind of 0', 17, 0],
    ['an unknown version', 0, 2],
    ['a pod that is none', 3, 0x7a],
    ['a length that is too large', 20, 1],
    ['flags that are unknown', 22, 2],
    ['a time that is no number', 23, 0x7f],
  ])('take %s for garbage', (name, at, value) => {
    const { blobs } = write([messageOf(Buffer.from('1'))])
    const [blob = Buffer.alloc(0)] = blobs
    blob[at] = value
    if (name === 'a time that is no number') blob[at + 1] = 0xf0
    expect(read([blob])).toEqual({ records: [], garbage: 1 })
  })
})
