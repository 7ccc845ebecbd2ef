import { describe, expect, it } from 'vitest'
import type { ClaimRequest, Cluster, ClusterEvents, PodFigures } from '../../../src/cluster/contract.ts'
import { createSingleCluster } from '../../../src/cluster/single.ts'
import type { Store } from '../../../src/store/contract.ts'
import { createMemoryStore } from '../../../src/store/memory.ts'
import { message, testLimits } from '../../support/store-fixtures.ts'

const request: ClaimRequest = {
  sessionId: 'c',
  clean: false,
  will: undefined,
  username: undefined,
  maxSessions: 2,
  maxConnectionsPerUser: 0,
  onLost: () => {},
}
const will = { clientId: 'c', message: message('w', 'gone') }
/** Unix time in ms, in the year 2096. */
const LATER_MS = 4_000_000_000_000
const end = { expiresAtMs: LATER_MS, sentUpToSeq: 0, willDueAtMs: 0 }

async function open(): Promise<{ store: Store; cluster: Cluster }> {
  const store = createMemoryStore(testLimits)
  await store.open()
  return { store, cluster: createSingleCluster(store, { expiryMs: 60_000 }) }
}

describe('a claim of a broker that is alone', () => {
  it('makes the stored session, and finds it the next time', async () => {
    const { store, cluster } = await open()
    const first = await cluster.claim(request)
    expect(first).toMatchObject({ present: false, stored: { id: 'c', expiresAtMs: 0 } })
    await first.release(end)
    expect(store.sessions.get('c')).toMatchObject({ expiresAtMs: LATER_MS })
    const second = await cluster.claim(request)
    expect(second.present).toBe(true)
    expect(second.stored).toBe(first.stored)
    expect(store.sessions.get('c')).toMatchObject({ expiresAtMs: 0 })
  })

  it('with clean session 1 ends the stored session', async () => {
    const { store, cluster } = await open()
    await (await cluster.claim(request)).release(end)
    expect(await cluster.claim({ ...request, clean: true })).toMatchObject({
      present: false,
      stored: undefined,
    })
    expect(store.sessions.size).toBe(0)
  })

  // MQTT 5, 3.1.2.4 and 3.1.2.11.2
  it.each([
    { clean: true, expirySeconds: 0, before: undefined, later: undefined, goesOn: false },
    { clean: true, expirySeconds: 9, before: 9, later: 9, goesOn: false },
    { clean: false, expirySeconds: 9, before: 9, later: 9, goesOn: true },
    { clean: false, expirySeconds: 0, before: undefined, later: 0, goesOn: true },
  ])('with clean start $clean and expiry $expirySeconds', async ({ before, later, goesOn, ...asked }) => {
    const { store, cluster } = await open()
    const isOver = asked.expirySeconds === 0
    const first = await cluster.claim({ ...request, ...asked })
    expect(first.present).toBe(false)
    expect(first.stored?.expirySeconds).toBe(before)
    await first.release({ ...end, isOver })
    expect(store.sessions.size).toBe(isOver ? 0 : 1)
    const there = await cluster.claim(request)
    await there.release(end)
    const second = await cluster.claim({ ...request, ...asked })
    expect(second.present).toBe(goesOn)
    expect(second.stored === there.stored).toBe(goesOn)
    expect(second.stored?.expirySeconds).toBe(later)
    await second.release({ ...end, isOver })
    expect(store.sessions.size).toBe(isOver ? 0 : 1)
  })

  it('does not find a session whose time is over, swept or not', async () => {
    const { store, cluster } = await open()
    const first = await cluster.claim(request)
    await first.release({ ...end, expiresAtMs: Date.now() - 1 })
    const second = await cluster.claim(request)
    expect(second.present).toBe(false)
    expect(second.stored).not.toBe(first.stored)
    expect(store.sessions.size).toBe(1)
  })

  it('makes the will of the session before due that waits, if that ends [MQTT-3.1.3-9]', async () => {
    const { cluster } = await open()
    const due: string[] = []
    const events = {
      willDue: ({ message: { payload } }) => due.push(payload.toString()),
    } as Partial<ClusterEvents>
    await cluster.start(events as ClusterEvents, () => ({}) as PodFigures)
    const waiting = { ...will, delaySeconds: 60 }
    await (await cluster.claim({ ...request, will: waiting })).release({ ...end, willDueAtMs: LATER_MS })
    await (await cluster.claim({ ...request, will: waiting })).release({ ...end, willDueAtMs: LATER_MS })
    expect(due).toEqual([])
    await cluster.claim({ ...request, clean: true })
    expect(due).toEqual(['gone'])
  })

  it('puts the will in place of whatever there was', async () => {
    const { store, cluster } = await open()
    await cluster.claim({ ...request, will })
    expect(store.wills.get('c')?.message.topic).toBe('w')
    await cluster.claim(request)
    expect(store.wills.size).toBe(0)
  })

  it('leaves the will where it is when it is to be kept, and else deletes it', async () => {
    const { store, cluster } = await open()
    await (await cluster.claim({ ...request, will })).release({ ...end, willDueAtMs: 9_000 })
    expect(store.wills.size).toBe(1)
    await (await cluster.claim({ ...request, will })).release(end)
    expect(store.wills.size).toBe(0)
  })

  it('that is given up late does not touch the next one', async () => {
    const { store, cluster } = await open()
    const first = await cluster.claim(request)
    await cluster.claim({ ...request, will })
    await first.release(end)
    expect(store.sessions.get('c')).toMatchObject({ expiresAtMs: 0 })
    expect(store.wills.size).toBe(1)
  })

  it('of one session too many is refused, and nothing is claimed', async () => {
    const { store, cluster } = await open()
    for (const sessionId of ['a', 'b']) await cluster.claim({ ...request, sessionId })
    await expect(cluster.claim(request)).rejects.toMatchObject({ code: 'TMQ_LIMIT' })
    expect(await cluster.kick('c')).toBe(false)
    expect(store.sessions.size).toBe(2)
    expect(cluster.stats()).toMatchObject({ claims: 2, owned: 2 })
  })

  it('that fails half-way leaves a session that ends in time', async () => {
    const { store } = await open()
    const failing = new Proxy(store, {
      get: (target, name) =>
        name === 'putWill' ? () => Promise.reject(new Error('disk')) : (Reflect.get(target, name) as unknown),
    })
    const cluster = createSingleCluster(failing, { expiryMs: 60_000 })
    await expect(cluster.claim({ ...request, will })).rejects.toThrow('disk')
    expect(store.sessions.get('c')!.expiresAtMs).toBeGreaterThan(Date.now())
  })
})

describe('a kick', () => {
  it('tells the connection once, and says whether there is one', async () => {
    const { cluster } = await open()
    const losses: string[] = []
    const claim = await cluster.claim({ ...request, onLost: (loss) => losses.push(loss) })
    expect([await cluster.kick('c'), await cluster.kick('c'), await cluster.kick('nobody')]).toEqual([
      true,
      false,
      false,
    ])
    await claim.release(end)
    expect(await cluster.kick('c')).toBe(false)
    expect(losses).toEqual(['kicked'])
  })
})

describe('questions of a broker that is alone', () => {
  it('asks itself under a deadline, and knows no other pod', async () => {
    const { cluster } = await open()
    const ask = (pod: string, text: string): Promise<string> =>
      cluster.ask(pod, Buffer.from(text), 20).then(String, ({ code }: { code: string }) => code)
    expect(await ask(cluster.pod, 'early')).toBe('TMQ_STOPPED')
    const asked = (pod: string, question: Buffer): Promise<Buffer> =>
      String(question) === 'hold'
        ? new Promise(() => undefined)
        : Promise.resolve(Buffer.from(`${pod} ${String(question)}`))
    await cluster.start({ asked } as ClusterEvents, () => ({}) as PodFigures)
    expect(await ask(cluster.pod, 'x')).toBe(`${cluster.pod} x`)
    expect(await ask(cluster.pod, 'hold')).toBe('TMQ_TIMEOUT')
    expect(await ask('0123456789abcdef', 'x')).toBe('TMQ_UNREACHABLE')
    expect(await cluster.unban('192.0.2.1')).toBe(false)
  })
})
