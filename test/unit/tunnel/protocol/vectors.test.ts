import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { createStreams } from '../../../../src/tunnel/protocol/create-streams.ts'
import {
  FrameFlag,
  FrameType,
  FrameView,
  HEADER_BYTES,
  encodeFrame,
  frameFault,
} from '../../../../src/tunnel/protocol/frame.ts'
import { Routes, parseFrameTopic } from '../../../../src/tunnel/protocol/names.ts'
import { decodeOpen } from '../../../../src/tunnel/protocol/open-payload.ts'
import { decodeReset, resetName, type ResetCode } from '../../../../src/tunnel/protocol/reset-code.ts'
import type { Stream, StreamEvent, Streams } from '../../../../src/tunnel/protocol/streams.ts'

type Role = 'client' | 'agent'
type Bytes = string | { readonly hex: string; readonly times: number }

interface FrameVector {
  readonly name?: string
  readonly from: Role
  readonly type: string
  readonly flags: readonly ('FIN' | 'GAP')[]
  readonly stream: number
  readonly offset: number
  readonly acked: number
  readonly limit: number
  readonly header: string
  readonly payload: Bytes
}

type Step =
  | { readonly sends: FrameVector; readonly lost?: true }
  | {
      readonly does: { readonly role: Role; readonly what: string } & {
        readonly token?: string
        readonly bytes?: string
        readonly code?: ResetCode
        readonly reason?: string
      }
    }

interface Vectors {
  readonly frames: readonly FrameVector[]
  readonly malformed: readonly {
    readonly name: string
    readonly from: Role
    readonly hex: string
    readonly payload?: Bytes
    readonly fault: 'short' | 'type' | 'sender' | 'flags' | 'size'
  }[]
  readonly opens: readonly {
    readonly name: string
    readonly text: string
    readonly fault?: true
    readonly token?: string
    readonly source?: object
    readonly peer?: object
  }[]
  readonly resets: readonly {
    readonly payload: string
    readonly code: number
    readonly name: string
    readonly reason: string
  }[]
  readonly topics: readonly {
    readonly topic: string
    readonly prefix: string
    readonly invalid?: true
    readonly agent?: string
    readonly service?: string
    readonly client?: string
    readonly direction?: string
  }[]
  readonly exchanges: readonly {
    readonly name: string
    readonly steps: readonly Step[]
    readonly ends?: Partial<Record<Role, string>>
  }[]
}

const file = new URL('../../../../docs/tunnel-protocol-vectors.json', import.meta.url)
const vectors = JSON.parse(readFileSync(file, 'utf8')) as Vectors
const ROLES = ['client', 'agent'] as const

const toBytes = (bytes: Bytes): Buffer =>
  typeof bytes === 'string' ? Buffer.from(bytes, 'hex') : Buffer.from(bytes.hex.repeat(bytes.times), 'hex')
const wholeFrame = ({ header, payload }: FrameVector): Buffer =>
  Buffer.concat([Buffer.from(header, 'hex'), toBytes(payload)])
const typeOf = (name: string): FrameType => FrameType[name.toLowerCase() as keyof typeof FrameType]

/** The fields of a header, as a vector has them. */
function fields(view: FrameView): object {
  const flags = Object.entries(FrameFlag).filter(([, bit]) => (view.flags & bit) !== 0)
  const type = Object.entries(FrameType).find(([, number]) => number === view.type)
  return {
    type: type![0].toUpperCase(),
    flags: flags.map(([name]) => name.toUpperCase()),
    stream: view.stream,
    offset: view.offset,
    acked: view.acked,
    limit: view.limit,
  }
}

function fieldsOf(frame: Buffer): object {
  const view = new FrameView()
  view.read(frame)
  return fields(view)
}

describe('the test vectors', () => {
  it('have a frame of each type', () => {
    const types = new Set(vectors.frames.map(({ type }) => typeOf(type)))
    expect(types).toEqual(new Set(Object.values(FrameType)))
    const codes = vectors.resets.map(({ name }) => name)
    expect(new Set(codes).size).toBe(14)
  })

  it.each(vectors.frames)('$name', (vector) => {
    const frame = wholeFrame(vector)
    expect(frameFault(frame, vector.from)).toBeUndefined()
    const { type, flags, stream, offset, acked, limit } = vector
    expect(fieldsOf(frame)).toEqual({ type, flags, stream, offset, acked, limit })
    let bits = 0
    for (const flag of flags) bits |= FrameFlag[flag.toLowerCase() as 'fin' | 'gap']
    const header = { type: typeOf(type), flags: bits, stream, offset, acked, limit }
    expect(encodeFrame(header, toBytes(vector.payload)).equals(frame)).toBe(true)
  })

  it.each(vectors.malformed)('$name is no frame', ({ from, hex, payload, fault }) => {
    const frame = Buffer.concat([Buffer.from(hex, 'hex'), toBytes(payload ?? '')])
    const words = {
      short: 'bytes are no frame',
      type: 'unknown frame type',
      sender: 'from a',
      flags: 'unknown flags',
      size: /payload of \d+ bytes|DATA of \d+ bytes|DATA without payload/,
    }
    expect(frameFault(frame, from)).toMatch(words[fault])
  })

  it.each(vectors.opens)('OPEN: $name', ({ text, fault, token, source, peer }) => {
    const open = decodeOpen(Buffer.from(text))
    const members = { token, ...(source && { source }), ...(peer && { peer }) }
    expect(typeof open === 'string' ? 'a fault' : open).toEqual(fault === true ? 'a fault' : members)
  })

  it.each(vectors.resets)('RESET: code $code is $name', ({ payload, name, reason }) => {
    const reset = decodeReset(Buffer.from(payload, 'hex'))
    expect(resetName(reset.code)).toBe(name)
    expect(reset.reason).toBe(reason)
  })

  it.each(vectors.topics)('topic $topic', ({ topic, prefix, invalid, ...parts }) => {
    expect(parseFrameTopic(topic, prefix)).toEqual(invalid ? undefined : parts)
  })
})

/** Two ends, and what each has sent that has not been looked at. */
class Exchange {
  readonly #ends: Record<Role, Streams>
  readonly #streams: Partial<Record<Role, Stream>> = {}
  readonly outcomes: Partial<Record<Role, string>> = {}
  readonly #route = new Routes('tunnel').get('pi7', 'ssh', 'laptop')
  #nowMs = 1

  constructor(firstStreamId: number) {
    this.#ends = {
      client: createStreams({ role: 'client', firstStreamId }),
      agent: createStreams({ role: 'agent', firstStreamId: 0 }),
    }
    for (const role of ROLES) this.#ends[role].linkUp(this.#nowMs)
  }

  does({ role, what, token, bytes, code, reason }: Extract<Step, { does: unknown }>['does']): void {
    const end = this.#ends[role]
    if (what === 'open') this.#streams[role] = end.open(this.#route, { token: token! }, this.#nowMs)
    const stream = this.#streams[role]!
    if (what === 'accept') stream.accept(this.#nowMs)
    else if (what === 'write') stream.write(Buffer.from(bytes!, 'hex'), this.#nowMs)
    else if (what === 'finish') stream.finish(this.#nowMs)
    else if (what === 'reset') stream.reset(code!, reason!, this.#nowMs)
  }

  /** The one frame that goes out at this end, if need be after the delay of an ACK. */
  next(role: Role): Buffer {
    const end = this.#ends[role]
    const frames: Buffer[] = []
    for (let round = 0; round < 3 && frames.length === 0; round++) {
      end.transmit(this.#nowMs, (_, header, payload) => {
        frames.push(encodeFrame(header, payload))
        return true
      })
      if (frames.length > 0) break
      this.#nowMs += 25
      end.advance(this.#nowMs)
    }
    expect(frames.map(fieldsOf)).toHaveLength(1)
    return frames[0]!
  }

  arrive(role: Role, frame: Buffer): void {
    this.#ends[role].receive(this.#route, frame, this.#nowMs)
    for (const event of this.#ends[role].takeEvents()) this.#handle(role, event)
  }

  #handle(role: Role, event: StreamEvent): void {
    this.#streams[role] = event.stream
    if (event.kind === 'data') event.stream.consumed(event.bytes.length, this.#nowMs)
    if (event.kind === 'closed') this.outcomes[role] = 'closed'
    if (event.kind === 'reset') this.outcomes[role] = resetName(event.code)
  }
}

/** What matters of a frame: the reason of a RESET is free text. */
function shown(frame: Buffer): object {
  const payload = frame.subarray(HEADER_BYTES, frame[0] === FrameType.reset ? HEADER_BYTES + 2 : undefined)
  return { ...fieldsOf(frame), payload: payload.toString('hex') }
}

describe('the exchanges of the test vectors', () => {
  it.each(vectors.exchanges)('$name', ({ steps, ends }) => {
    const sends = steps.flatMap((step) => ('sends' in step ? [step.sends] : []))
    const exchange = new Exchange(sends[0]!.stream)
    const isOpened = steps.some((step) => 'does' in step)
    for (const step of steps) {
      if ('does' in step) {
        exchange.does(step.does)
        continue
      }
      const { from } = step.sends
      const expected = wholeFrame(step.sends)
      // Without a program the client's frames come from nowhere.
      const frame = isOpened || from === 'agent' ? exchange.next(from) : expected
      expect(shown(frame)).toEqual(shown(expected))
      if (step.lost !== true) exchange.arrive(from === 'client' ? 'agent' : 'client', expected)
    }
    expect(exchange.outcomes).toEqual(ends ?? {})
  })
})

const PYTHON = '/usr/bin/python3'

describe("the Python example's own codec", () => {
  it('agrees with every vector', () => {
    const check = new URL('../../../../examples/python-agent/check_vectors.py', import.meta.url)
    const { status, stdout, stderr } = spawnSync(PYTHON, [check.pathname, file.pathname], {
      encoding: 'utf8',
    })
    expect(stderr).toBe('')
    expect(status).toBe(0)
    const { frames, malformed, opens, resets, topics } = vectors
    const count = [frames, malformed, opens, resets, topics].reduce((sum, list) => sum + list.length, 0)
    expect(stdout.trim()).toBe(`${count} vectors agree`)
  })
})
