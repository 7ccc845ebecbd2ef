import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { Agent, ClientSummary } from '../../../src/admin/api/resources.ts'
import { clientCursor, compareClients, readClientCursor } from '../../../src/admin/cursor.ts'
import { mergeAgents, mergeClientPages, mergePackets } from '../../../src/admin/merge.ts'

const blank = { mountpoint: '', pod: null, connectedAt: null } as unknown as ClientSummary

interface Placed {
  readonly id: string
  readonly mountpoint: string
  /** Pods that show it, and how. */
  readonly shown: readonly ('connected' | 'offline' | undefined)[]
}

const placed = fc.record({
  id: fc.string({ maxLength: 3 }),
  mountpoint: fc.constantFrom('', 'm/'),
  shown: fc.array(fc.constantFrom('connected', 'offline', undefined), { minLength: 3, maxLength: 3 }),
}) satisfies fc.Arbitrary<Placed>

/** What one pod would answer; `short`: fewer than asked for, though there are more. */
function pageOf(all: readonly ClientSummary[], after: string | null, limit: number) {
  const from = after === null ? undefined : readClientCursor(after)
  const rest = all.filter((item) => from === undefined || compareClients(item, from) > 0)
  const items = rest.slice(0, limit)
  return { items, next: rest.length > items.length ? clientCursor(items.at(-1)!) : null }
}

describe('pages of clients of several pods', () => {
  it('show each client once, in order, and leave out none, whatever each pod gives at a time', () => {
    const sizes = fc.array(fc.integer({ min: 1, max: 4 }), { minLength: 3, maxLength: 3 })
    const clients = fc.uniqueArray(placed, { selector: clientCursor, maxLength: 30 })
    fc.assert(
      fc.property(clients, sizes, fc.integer({ min: 1, max: 5 }), (world, perPod, limit) => {
        const pods = [0, 1, 2].map((pod) =>
          world
            .flatMap(({ shown, ...ref }) =>
              shown[pod] === undefined ? [] : [{ ...blank, ...ref, state: shown[pod] }],
            )
            .toSorted(compareClients),
        )
        const seen: ClientSummary[] = []
        let after: string | null = null
        for (let turn = 0; turn === 0 || after !== null; turn++) {
          expect(turn).toBeLessThan(200)
          const pages = pods.map((all, pod) => pageOf(all, after, Math.min(perPod[pod]!, limit)))
          const merged = mergeClientPages(pages, readClientCursor, limit)
          expect(merged.items.length).toBeLessThanOrEqual(limit)
          seen.push(...merged.items)
          after = merged.next
        }
        const slow = world
          .filter(({ shown }) => shown.some((state) => state !== undefined))
          .map(({ id, mountpoint, shown }) => ({
            id,
            mountpoint,
            state: shown.includes('connected') ? 'connected' : 'offline',
          }))
          .toSorted(compareClients)
        expect(seen.map(({ id, mountpoint, state }) => ({ id, mountpoint, state }))).toEqual(slow)
      }),
      { numRuns: 200 },
    )
  })

  it('take cursors that are ours alone', () => {
    const ref = { id: 'é/%', mountpoint: 'm/' }
    expect(readClientCursor(clientCursor(ref))).toEqual(ref)
    for (const bad of [
      '',
      'AAAA',
      Buffer.from('[1,2]').toString('base64url'),
      Buffer.from('["a"]').toString('base64url'),
    ])
      expect(() => readClientCursor(bad)).toThrow('after: is not')
  })
})

describe('agents of several pods', () => {
  const agent = (changes: Partial<Agent>): Agent => ({
    name: 'pi7',
    mountpoint: '',
    isOnline: false,
    pod: null,
    client: null,
    username: null,
    address: null,
    since: null,
    services: [],
    streams: 0,
    bytesUp: 0,
    bytesDown: 0,
    ...changes,
  })

  it('are one each: where it is online, with the streams of all', () => {
    const merged = mergeAgents([
      [agent({ streams: 1, bytesUp: 5 }), agent({ name: 'a', mountpoint: 'm/' })],
      [agent({ isOnline: true, pod: 'b', services: ['ssh'], streams: 2, bytesDown: 7 })],
    ])
    expect(merged).toEqual([
      agent({ name: 'a', mountpoint: 'm/' }),
      agent({ isOnline: true, pod: 'b', services: ['ssh'], streams: 3, bytesUp: 5, bytesDown: 7 }),
    ])
  })
})

it('packets of several pods come by time, those of one pod in their order', () => {
  const packet = (at: string, detail: string) => ({ at, detail }) as Parameters<typeof mergePackets>[0][0][0]
  const merged = mergePackets([
    [packet('1', 'a1'), packet('3', 'a2'), packet('3', 'a3')],
    [packet('2', 'b1'), packet('3', 'b2')],
  ])
  expect(merged.map(({ detail }) => detail)).toEqual(['a1', 'b1', 'a2', 'a3', 'b2'])
})
