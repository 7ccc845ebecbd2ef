import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { Duplex } from 'node:stream'
import { describe, expect, it } from 'vitest'
import { Channel } from '../../../../src/tunnel/endpoint/channel.ts'
import { Pipe, type PipeEnd } from '../../../../src/tunnel/endpoint/pipe.ts'
import { resetSocket } from '../../../../src/tunnel/endpoint/socket-end.ts'
import { Routes } from '../../../../src/tunnel/protocol/names.ts'
import { ResetCode } from '../../../../src/tunnel/protocol/reset-code.ts'
import type { Stream } from '../../../../src/tunnel/protocol/streams.ts'
import { closeCodeOf, dialPort, later, openTarget } from '../../../support/tunnel-ends.ts'

/** A socket that takes what is written only when it is told to. */
class SlowSocket extends Duplex {
  readonly written: string[] = []
  #taken: (() => void) | undefined

  constructor() {
    super({ allowHalfOpen: true })
  }

  /** Takes what was given to it; the next follows at once. */
  accept(): void {
    const taken = this.#taken
    this.#taken = undefined
    taken?.()
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: () => void): void {
    this.written.push(chunk.toString())
    this.#taken = done
  }

  override _read(): void {
    // `push` comes from the test.
  }
}

/** A pipe between a socket and a stream that writes down what it is told. */
function openPipe(prepare: (socket: SlowSocket) => void = () => undefined) {
  const told: string[] = []
  const state = { hasRoom: true }
  const stream: Stream = {
    route: new Routes().get('pi7', 'x', 'laptop'),
    id: 1,
    phase: 'open',
    source: undefined,
    peer: undefined,
    openedAtMs: 0,
    sentBytes: 0,
    receivedBytes: 0,
    get hasRoom() {
      return state.hasRoom
    },
    attachment: undefined,
    accept: () => void told.push('accept'),
    write: (bytes) => void told.push(`write ${bytes.toString()}`),
    finish: () => void told.push('finish'),
    consumed: (byteCount) => void told.push(`consumed ${byteCount}`),
    reset: (code) => void told.push(`reset ${code}`),
  }
  const channel = new Channel(stream, { now: () => 0, wake: () => undefined })
  const socket = new SlowSocket()
  prepare(socket)
  const ends: PipeEnd[] = []
  const pipe = new Pipe(channel, socket, { ended: (end) => ends.push(end) })
  return { told, state, socket, pipe, ends }
}

/** What Node does in the next ticks is done. */
const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

describe('a pipe', () => {
  it('gives credit for what the socket has taken, not for what waits in it', async () => {
    const { told, socket, pipe } = openPipe()
    pipe.data(Buffer.from('four'))
    pipe.data(Buffer.from('seconds'))
    await settled()
    expect(told).toEqual([])
    socket.accept()
    await settled()
    expect(told).toEqual(['consumed 4'])
    socket.accept()
    await settled()
    expect(told).toEqual(['consumed 4', 'consumed 7'])
    expect(socket.written).toEqual(['four', 'seconds'])
  })

  it('reads no more while the stream has no room', async () => {
    const { told, state, socket, pipe } = openPipe()
    state.hasRoom = false
    socket.push('a')
    await settled()
    socket.push('b')
    await settled()
    expect(told).toEqual(['write a'])
    state.hasRoom = true
    pipe.room()
    await settled()
    expect(told).toEqual(['write a', 'write b'])
  })

  it('passes each end on, behind what was written', async () => {
    const { told, socket, pipe, ends } = openPipe()
    socket.push('last')
    socket.push(null)
    pipe.data(Buffer.from('words'))
    pipe.end()
    await settled()
    expect(told).toEqual(['write last', 'finish'])
    expect(socket.writableFinished).toBe(false)
    socket.accept()
    await settled()
    expect(socket.closed).toBe(true)
    // The acknowledgement of the other end comes later: no reason to reset anything.
    expect(told).toEqual(['write last', 'finish', 'consumed 5'])
    expect(ends).toEqual([])
    pipe.closed()
    expect(ends).toEqual([{ kind: 'closed' }])
  })

  it('puts small pieces together for a socket that takes nothing, and gives credit for each byte', async () => {
    const { told, socket, pipe } = openPipe()
    const text = Array.from({ length: 40_000 }, (_, index) => String.fromCharCode(97 + (index % 26))).join('')
    pipe.data(Buffer.alloc(100_000, '.'))
    for (const letter of text) pipe.data(Buffer.from(letter))
    pipe.data(Buffer.alloc(5_000, '!'))
    pipe.data(Buffer.from('?'))
    pipe.end()
    while (!socket.writableFinished) {
      await settled()
      socket.accept()
    }
    await settled()
    expect(socket.written.join('')).toBe('.'.repeat(100_000) + text + '!'.repeat(5_000) + '?')
    expect(socket.written.length).toBeLessThan(10)
    const credits = told.filter((what) => what.startsWith('consumed')).map((what) => Number(what.slice(9)))
    expect(credits.reduce((sum, count) => sum + count, 0)).toBe(145_001)
  })

  it('hands small pieces over as soon as what was before them is taken', async () => {
    const { socket, pipe } = openPipe()
    pipe.data(Buffer.alloc(100_000, '.'))
    pipe.data(Buffer.from('a'))
    pipe.data(Buffer.from('b'))
    await settled()
    socket.accept()
    await settled()
    expect(socket.written.slice(1)).toEqual(['ab'])
  })

  it('resets the stream when the socket ends otherwise, once', async () => {
    const { told, socket, ends } = openPipe()
    socket.destroy(Object.assign(new Error('reset'), { code: 'ECONNRESET' }))
    await settled()
    expect(told).toEqual([`reset ${ResetCode.reset}`])
    expect(ends).toEqual([
      { kind: 'reset', code: ResetCode.reset, reason: 'the TCP connection was reset (ECONNRESET)', by: 'us' },
    ])
  })

  it('resets the stream of a socket that is gone already', () => {
    const { told, ends } = openPipe((socket) => socket.destroy())
    expect(told).toEqual([`reset ${ResetCode.reset}`])
    expect(ends).toHaveLength(1)
  })

  it('destroys the socket of a stream that was reset, and writes nothing more to it', async () => {
    const { told, socket, pipe, ends } = openPipe()
    pipe.reset(ResetCode.idle, 'too long', 'peer')
    pipe.data(Buffer.from('late'))
    await settled()
    expect(socket.destroyed).toBe(true)
    expect(socket.written).toEqual([])
    expect(ends).toEqual([{ kind: 'reset', code: ResetCode.idle, reason: 'too long', by: 'peer' }])
    expect(told.filter((what) => what.startsWith('consumed'))).toEqual([])
  })
})

describe('the reset of a socket', () => {
  it('reaches the other end when this one has not heard yet that it is connected', async () => {
    const reset = later<string | undefined>()
    const target = await openTarget((other) => void closeCodeOf(other).then(reset.resolve))
    const [host, port] = target.split(':')
    const socket = connect(Number(port), host)
    const closed = once(socket, 'close')
    // Node calls connect(2) in the next tick; over loopback the kernel has then finished it.
    await new Promise<void>((resolve) => process.nextTick(() => process.nextTick(resolve)))
    expect(socket.connecting).toBe(true)
    resetSocket(socket)
    expect(await reset.promise).toBe('ECONNRESET')
    await closed
  })

  it('does not wait for a target that does not answer', async () => {
    const socket = connect({ host: 'nobody.invalid', port: 9, lookup: () => undefined })
    const closed = once(socket, 'close')
    resetSocket(socket)
    await closed
    expect(socket.destroyed).toBe(true)
  })

  it('closes it also when it was just ended, and reaches the other end', async () => {
    const accepted = later<Socket>()
    const [, port] = (await openTarget(accepted.resolve)).split(':')
    const other = await dialPort(Number(port))
    const code = closeCodeOf(other)
    const socket = await accepted.promise
    const closed = once(socket, 'close')
    const ended = once(other, 'end')
    socket.end()
    resetSocket(socket)
    await closed
    // Behind a FIN a reset is seen by who writes.
    await ended
    other.write('anybody there?')
    expect(['EPIPE', 'ECONNRESET']).toContain(await code)
  })
})
