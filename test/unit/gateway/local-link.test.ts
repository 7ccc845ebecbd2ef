import { describe, expect, it, onTestFinished } from 'vitest'
import { configSchema } from '../../../src/config/schema.ts'
import { LocalEnd } from '../../../src/gateway/local-end.ts'
import { LocalLink } from '../../../src/gateway/local-link.ts'
import { allowedBy } from '../../../src/hooks/decision.ts'
import { createSilentLog } from '../../../src/log.ts'
import { encodeFrame, FrameType, FrameView, HEADER_BYTES } from '../../../src/tunnel/protocol/frame.ts'
import { decodeOpen, encodeOpen } from '../../../src/tunnel/protocol/open-payload.ts'
import type { TunnelEnd } from '../../../src/tunnel/router/end.ts'
import { TunnelRouter } from '../../../src/tunnel/router/router.ts'

/** A connection of an agent whose socket takes nothing until it is told to. */
class SlowAgent implements TunnelEnd {
  readonly mountpoint = ''
  readonly username = undefined
  readonly address = '192.0.2.7'
  readonly port = 50_000
  readonly isBroker = false
  readonly name: string
  pendingBytes = 0
  readonly frames: Buffer[] = []
  #listeners: (() => void)[] = []

  constructor(name: string) {
    this.name = name
  }

  authTunnel = () => allowedBy('test')
  hold = (): void => undefined
  release = (): void => undefined

  deliver(_topic: string, packet: Buffer | undefined, frame: Buffer): void {
    this.pendingBytes += (packet ?? frame).length
    this.frames.push(frame)
  }

  onceDrained(listener: () => void): void {
    this.#listeners.push(listener)
  }

  take(bytes: number): void {
    this.pendingBytes = Math.max(0, this.pendingBytes - bytes)
    const listeners = this.#listeners
    this.#listeners = []
    for (const listener of listeners) listener()
  }
}

interface Told {
  readonly frames: string[]
  rooms: number
  ups: number
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))
const nameOfType = (type: number): string => Object.entries(FrameType).find(([, code]) => code === type)![0]

function openWorld() {
  const statuses: string[] = []
  const router = new TunnelRouter({
    config: configSchema.parse({}).tunnel,
    log: createSilentLog(),
    publishStatus: (_mountpoint, agent, status) => statuses.push(`${agent} ${status.toString()}`),
    statusOf: () => undefined,
    graceMs: 0,
  })
  onTestFinished(() => router.stop())
  const client = new LocalEnd({ router, role: 'answers', identity: { name: 'broker', mountpoint: '' } })
  return { router, client, statuses }
}

/** Records what a link tells. */
function attach(link: LocalLink): Told {
  const told: Told = { frames: [], rooms: 0, ups: 0 }
  const view = new FrameView()
  link.attach({
    up: () => void told.ups++,
    down: () => expect.fail('a link within the process does not go down'),
    frame: (route, frame) => {
      view.read(frame)
      told.frames.push(`${route.agent}/${route.service} ${nameOfType(view.type)} ${view.stream}`)
    },
    room: () => void told.rooms++,
    status: () => undefined,
  })
  return told
}

const header = (type: FrameType, fields: { offset?: number; limit?: number } = {}) => ({
  type,
  flags: 0,
  stream: 1,
  offset: 0,
  acked: 0,
  limit: 0,
  ...fields,
})
const open = encodeOpen({ token: '0011223344556677', source: { address: '203.0.113.9', port: 40_000 } })
const LIMIT = 1_000_000_000

/** A stream of `link` to `agent` that stands, with credit for a gigabyte. */
function openOn(router: TunnelRouter, link: LocalLink, agent: SlowAgent): void {
  const route = link.route(agent.name, 'bulk', 'broker')
  link.send(route, header(FrameType.open), open)
  router.receive(agent, route.downTopic, encodeFrame(header(FrameType.accept, { limit: LIMIT })), undefined)
}

/** Sends DATA of 32 KiB until it is not taken in this turn; returns how many were. */
function send(link: LocalLink, agent: SlowAgent, from = 0): number {
  const route = link.route(agent.name, 'bulk', 'broker')
  const payload = Buffer.alloc(32_768)
  for (let count = 0; count < 1_000; count++) {
    const offset = (from + count) * payload.length
    if (!link.send(route, header(FrameType.data, { offset }), payload)) return count
  }
  return Infinity
}

/** The same, over as many turns as it takes. */
async function fill(link: LocalLink, agent: SlowAgent): Promise<number> {
  let count = 0
  for (let sent = Infinity; sent > 0; count += sent) {
    sent = send(link, agent, count)
    await turn()
  }
  return count
}

async function openStream() {
  const { router, client } = openWorld()
  const agent = new SlowAgent('pi7')
  router.attach(agent, 'serve')
  const link = new LocalLink({ end: client, agent: 'pi7' })
  const told = attach(link)
  await turn()
  openOn(router, link, agent)
  await turn()
  return { router, client, agent, link, told, route: link.route('pi7', 'bulk', 'broker') }
}

describe('a link inside the broker', () => {
  it('is up in the next microtask, and passes frames both ways', async () => {
    const { router, client } = openWorld()
    const agent = new SlowAgent('pi7')
    router.attach(agent, 'serve')
    const link = new LocalLink({ end: client, agent: 'pi7' })
    const told = attach(link)
    expect([link.isUp, told.ups]).toEqual([false, 0])
    await Promise.resolve()
    expect([link.isUp, told.ups]).toEqual([true, 1])
    openOn(router, link, agent)
    await turn()
    expect(told.frames).toEqual(['pi7/bulk accept 1'])
    expect(decodeOpen(agent.frames[0]!.subarray(HEADER_BYTES))).toMatchObject({
      peer: { address: '203.0.113.9', port: 40_000 },
    })
  })

  it('does not enter its endpoint from within send: what the router answers comes in a later turn', async () => {
    const { client } = openWorld()
    const link = new LocalLink({ end: client, agent: 'pi9' })
    const told = attach(link)
    await turn()
    expect(link.send(link.route('pi9', 'ssh', 'broker'), header(FrameType.open), open)).toBe(true)
    expect(told.frames).toEqual([])
    expect(client.pendingBytes).toBeGreaterThan(HEADER_BYTES)
    await turn()
    expect(told.frames).toEqual(['pi9/ssh reset 1'])
    expect(client.pendingBytes).toBe(0)
  })

  it('takes 64 KiB in one turn, and more in the next', async () => {
    const { agent, link, told } = await openStream()
    expect(send(link, agent)).toBe(2)
    expect(told.rooms).toBe(0)
    await turn()
    expect(told.rooms).toBe(1)
    expect(send(link, agent, 2)).toBe(2)
  })

  it('waits while 256 KiB wait for the agent, until half of them are gone', async () => {
    const { agent, link, told } = await openStream()
    expect(await fill(link, agent)).toBe(8)
    const { rooms } = told
    agent.take(65_536)
    expect(told.rooms).toBe(rooms)
    agent.take(131_072)
    expect(told.rooms).toBe(rooms + 1)
    expect(send(link, agent, 8)).toBe(2)
  })

  it('takes frames that are not DATA also then', async () => {
    const { agent, link, route } = await openStream()
    await fill(link, agent)
    expect(link.send(route, header(FrameType.ping), undefined)).toBe(true)
    expect(agent.frames.at(-1)![0]).toBe(FrameType.ping)
  })

  it('goes on when the connection of the agent has ended, and another has its place', async () => {
    const { router, agent, link, told } = await openStream()
    await fill(link, agent)
    const { rooms } = told
    const next = new SlowAgent('pi7')
    router.gone(agent, 'lost')
    router.attach(next, 'serve')
    agent.take(0)
    expect(told.rooms).toBe(rooms + 1)
    expect(send(link, next, 8)).toBe(2)
  })

  it('lets a slow agent stop its own link only', async () => {
    const { router, client, agent, link, told } = await openStream()
    const other = new SlowAgent('pi8')
    router.attach(other, 'serve')
    const second = new LocalLink({ end: client, agent: 'pi8' })
    const toldSecond = attach(second)
    await turn()
    openOn(router, second, other)
    await fill(link, agent)
    expect(send(link, agent, 8)).toBe(0)
    expect(await fill(second, other)).toBe(8)
    expect(told.frames).toEqual(['pi7/bulk accept 1'])
    expect(toldSecond.frames).toEqual(['pi8/bulk accept 1'])
  })

  it('leaves its place when it is closed, and sends and tells nothing more', async () => {
    const { router, agent, link, told, route } = await openStream()
    expect(router.endOf('', 'broker', 'answers')).toBeDefined()
    router.receive(agent, route.downTopic, encodeFrame(header(FrameType.ping)), undefined)
    await link.close()
    await turn()
    expect(router.endOf('', 'broker', 'answers')).toBeUndefined()
    expect(told.frames).toEqual(['pi7/bulk accept 1'])
    expect(link.isUp).toBe(false)
    expect(link.send(route, header(FrameType.ping), undefined)).toBe(false)
  })
})

describe('the broker as an agent', () => {
  it('publishes its status, and the router that it is gone when it leaves without a word', async () => {
    const { router, statuses } = openWorld()
    const published: string[] = []
    const end = new LocalEnd({ router, role: 'serve', identity: { name: 'broker', mountpoint: '' } })
    const link = new LocalLink({ end, publishStatus: (status) => published.push(status.toString()) })
    attach(link)
    await turn()
    link.publishStatus('{"online":true,"services":["ssh"]}')
    expect(published).toEqual(['{"online":true,"services":["ssh"]}'])
    link.publishStatus('no status')
    expect(published).toHaveLength(1)
    await link.close()
    expect(statuses.join()).toMatch(/^broker \{"online":false,"services":\["ssh"\]/)
  })
})
