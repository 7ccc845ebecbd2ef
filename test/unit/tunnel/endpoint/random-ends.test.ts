import { connect } from 'node:net'
import type { Duplex } from 'node:stream'
import { describe, expect, it } from 'vitest'
import { hiddenReset, resetSocket } from '../../../../src/tunnel/endpoint/socket-end.ts'
import { eventually } from '../../../support/eventually.ts'
import { openEnds, openTarget } from '../../../support/tunnel-ends.ts'
import { seededRandom } from '../../../support/tunnel-simulation-clock.ts'

/**
 *   program ── forward ── client ══ agent ── target      several streams at once; each end does what chance says
 *
 * Whatever happens, and whenever: an end is seen only where all bytes came and the other one has ended, and nothing
 * of a stream stays behind.
 */

/** Of a run by hand: the first seed, and how many. */
const FIRST_SEED = Number(process.env['SEED'] ?? 1)
const SEED_COUNT = Number(process.env['SEEDS'] ?? 12)
const STREAMS = 5
const HEADER_BYTES = 16

type Random = (below: number) => number

function randomOf(seed: number): Random {
  const next = seededRandom(seed)
  return (below) => Math.floor(next() * below)
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))
const tick = (): Promise<void> => new Promise((resolve) => process.nextTick(resolve))
const moment = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 1))

async function wait(random: Random): Promise<void> {
  const kind = random(4)
  if (kind === 0) await tick()
  else if (kind === 1) await moment()
  else for (let count = random(4); count > 0; count--) await turn()
}

/** The byte at a place of what an end with this mark sends. */
const byteAt = (mark: number, place: number): number => (mark + place * 7 + (place >> 8)) & 0xff

/** One program at one end of a stream: what it does, and what it sees. */
class Party {
  sentBytes = 0
  hasEnded = false
  receivedBytes = 0
  sawEnd = false
  isClosed = false
  hasReset = false
  /** Bytes that came and are not those that were sent. */
  fault: string | undefined
  readonly #socket: Duplex
  readonly #mark: number

  constructor(socket: Duplex, mark: number, from: number, skipBytes: number) {
    this.#socket = socket
    this.#mark = mark
    let skipped = 0
    socket.on('error', () => undefined)
    socket.once('close', () => (this.isClosed = true))
    socket.once('end', () => (this.sawEnd = hiddenReset(socket) === undefined))
    socket.on('data', (bytes: Buffer) => {
      const start = Math.min(skipBytes - skipped, bytes.length)
      skipped += start
      for (let at = start; at < bytes.length; at++) {
        if (bytes[at] !== byteAt(from, this.receivedBytes)) this.fault ??= `at ${this.receivedBytes}`
        this.receivedBytes++
      }
    })
  }

  async live(random: Random): Promise<void> {
    if (random(3) === 0) this.#socket.pause()
    for (let step = random(8); step > 0 && !this.isClosed; step--) {
      await wait(random)
      this.#act(random)
    }
    await wait(random)
    this.#socket.resume()
    if (!this.hasEnded) this.#end()
  }

  #act(random: Random): void {
    const action = random(16)
    if (action < 8) this.#write(random(3) === 0 ? 200_000 : random(3_000))
    else if (action === 8) this.#end()
    else if (action === 9) this.#reset()
    else if (action < 13) this.#socket.pause()
    else this.#socket.resume()
  }

  #write(byteCount: number): void {
    if (this.hasEnded || this.#socket.destroyed) return
    const bytes = Buffer.alloc(byteCount)
    for (let at = 0; at < byteCount; at++) bytes[at] = byteAt(this.#mark, this.sentBytes + at)
    this.sentBytes += byteCount
    this.#socket.write(bytes)
  }

  #end(): void {
    if (this.#socket.destroyed) return
    this.hasEnded = true
    this.#socket.end()
  }

  #reset(): void {
    this.hasReset = true
    resetSocket(this.#socket)
  }
}

/** Both ends of one stream; the target's comes when it is connected, if ever. */
interface Pair {
  readonly program: Party
  target: Party | undefined
}

interface Happened {
  readonly pairs: readonly Pair[]
  readonly wasClosed: boolean
}

async function happen(seed: number): Promise<Happened> {
  const random = randomOf(seed)
  const pairs: Pair[] = []
  const lives: Promise<void>[] = []
  const services: Record<string, { target: string; proxyProtocol: 'off' | 'v2' }> = {}
  for (let index = 0; index < STREAMS; index++) {
    const proxyProtocol = random(3) === 0 ? 'v2' : 'off'
    const target = await openTarget((socket) => {
      const party = new Party(socket, 2, 1, proxyProtocol === 'v2' ? HEADER_BYTES : 0)
      pairs[index]!.target = party
      lives.push(party.live(random))
    })
    services[`s${index}`] = { target, proxyProtocol }
  }
  const end = random(6)
  const small = random(2) === 0
  const limits = small ? { windowBytes: 16_384, sendBufferBytes: 16_384, chunkBytes: 1_000 } : {}
  // An OPEN on its way to an agent that has just ended is answered by nobody.
  const openTimeoutMs = end === 0 ? 500 : 20_000
  const ends = openEnds(services, { limits: { ...limits, openTimeoutMs } })
  const forwards = await Promise.all(
    Object.keys(services).map((service) => ends.client.forward({ to: `pi7/${service}` })),
  )
  await ends.client.connected()
  for (const [index, { port }] of forwards.entries()) {
    const socket = connect({ port: port!, host: '127.0.0.1', allowHalfOpen: true, noDelay: true })
    const program = new Party(socket, 1, 2, 0)
    pairs[index] = { program, target: undefined }
    lives.push(program.live(random))
    await wait(random)
  }
  for (let count = random(12); count > 0; count--) await wait(random)
  if (end === 0) await ends.agent.close({ graceMs: 50 })
  else if (end === 1) await ends.client.close(50)
  else if (end === 2) {
    ends.links.cut()
    await wait(random)
    ends.links.heal()
  }
  // Targets that come late add theirs.
  for (let count = 0; count < lives.length; count++) await lives[count]
  await eventually(() => ({
    streams: ends.client.streams + ends.agent.streams,
    connections: forwards.reduce((sum, { connections }) => sum + connections, 0),
    open: pairs.filter(({ program, target }) => !program.isClosed || target?.isClosed === false).length,
  })).toEqual({ streams: 0, connections: 0, open: 0 })
  for (let count = 0; count < lives.length; count++) await lives[count]
  expect([...ends.agentLog, ...ends.clientLog].filter(({ level }) => level === 'error')).toEqual([])
  return { pairs, wasClosed: end < 2 }
}

/** What is wrong with what `to` has seen of `from`. */
function faultOf(from: Party | undefined, to: Party | undefined, mustEnd: boolean): string | undefined {
  if (to === undefined) return undefined
  const { sentBytes = 0, hasEnded = false } = from ?? {}
  if (to.fault !== undefined) return to.fault
  if (to.receivedBytes > sentBytes) return `${to.receivedBytes} bytes of ${sentBytes}`
  if (to.sawEnd && !(hasEnded && to.receivedBytes === sentBytes))
    return `an end behind ${to.receivedBytes} of ${sentBytes} bytes, ${hasEnded ? 'ended' : 'not ended'}`
  return mustEnd && !to.sawEnd ? `no end, behind ${to.receivedBytes} of ${sentBytes} bytes` : undefined
}

describe('the ends of streams', () => {
  it('are true, and leave nothing behind, whatever happens and whenever', { timeout: 60_000 }, async () => {
    const faults: string[] = []
    for (let seed = FIRST_SEED; seed < FIRST_SEED + SEED_COUNT; seed++) {
      const { pairs, wasClosed } = await happen(seed).catch((cause: unknown) => {
        throw new Error(`seed ${seed}`, { cause })
      })
      for (const { program, target } of pairs) {
        const isWhole = !wasClosed && !program.hasReset && target?.hasReset === false
        const atTarget = faultOf(program, target, isWhole)
        const atProgram = faultOf(target, program, isWhole)
        if (atTarget !== undefined) faults.push(`seed ${seed}: the target sees ${atTarget}`)
        if (atProgram !== undefined) faults.push(`seed ${seed}: the program sees ${atProgram}`)
      }
    }
    expect(faults).toEqual([])
  })
})
