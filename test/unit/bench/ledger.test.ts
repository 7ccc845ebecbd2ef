import { describe, expect, it } from 'vitest'
import { Ledger, type Topology } from '../../../bench/load/ledger.ts'

const WINDOW_COUNT = 4

function ledgerFor(
  topology: Topology,
  publisherCount: number,
  subscriberCount: number,
): { ledger: Ledger; room: number[] } {
  const room: number[] = []
  const onRoom = (publisher: number): void => void room.push(publisher)
  return {
    ledger: new Ledger({ topology, publisherCount, subscriberCount, windowCount: WINDOW_COUNT, onRoom }),
    room,
  }
}

const nothing = { lost: 0, duplicated: 0, outOfOrder: 0, misrouted: 0 }

describe('the ledger of the load generator', () => {
  it('finds nothing wrong when each message comes once and in order', () => {
    const { ledger, room } = ledgerFor('pairs', 2, 2)
    ledger.send(0, 3)
    ledger.send(1, 1)
    for (const [client, sequence] of [
      [0, 0],
      [1, 0],
      [0, 1],
      [0, 2],
    ] as const)
      ledger.receive(client, client, sequence)
    expect(ledger.faults()).toEqual(nothing)
    expect(ledger.isSettled).toBe(true)
    expect(ledger.receivedCount).toBe(4)
    expect(room).toEqual([0, 1, 0, 0])
  })

  it('counts a message that never comes as lost, in the middle and at the end', () => {
    const { ledger } = ledgerFor('pairs', 1, 1)
    ledger.send(0, 4)
    ledger.receive(0, 0, 0)
    ledger.receive(0, 0, 2)
    expect(ledger.faults()).toEqual({ ...nothing, lost: 2 })
    expect(ledger.isSettled).toBe(false)
  })

  it('gives the room of a lost message back, so that a run goes on', () => {
    const { ledger } = ledgerFor('pairs', 1, 1)
    ledger.send(0, 3)
    ledger.receive(0, 0, 2)
    expect(ledger.underWayCount(0)).toBe(0)
  })

  it('counts a message that comes after a later one as out of order, not as lost', () => {
    const { ledger } = ledgerFor('fan-in', 2, 1)
    ledger.send(1, 3)
    for (const sequence of [1, 0, 2]) ledger.receive(0, 1, sequence)
    expect(ledger.faults()).toEqual({ ...nothing, outOfOrder: 1 })
    expect(ledger.receivedCount).toBe(3)
  })

  it('counts a message that comes twice, also when it was late the first time', () => {
    const { ledger } = ledgerFor('pairs', 1, 1)
    ledger.send(0, 2)
    for (const sequence of [1, 0, 0, 1]) ledger.receive(0, 0, sequence)
    expect(ledger.faults()).toEqual({ ...nothing, outOfOrder: 1, duplicated: 2 })
  })

  it('counts a message at the wrong subscriber, and one that was never sent, as misrouted', () => {
    const { ledger } = ledgerFor('pairs', 2, 2)
    ledger.send(0, 1)
    ledger.receive(1, 0, 0)
    ledger.receive(0, 0, 1)
    ledger.receive(0, 9, 0)
    expect(ledger.faults()).toEqual({ ...nothing, misrouted: 3, lost: 1 })
  })

  it('keeps a message of a fan-out under way until the last subscriber has it', () => {
    const { ledger, room } = ledgerFor('fan-out', 1, 3)
    ledger.send(0, 2)
    for (const subscriber of [0, 1]) for (const sequence of [0, 1]) ledger.receive(subscriber, 0, sequence)
    expect(ledger.underWayCount(0)).toBe(2)
    ledger.receive(2, 0, 0)
    expect(ledger.underWayCount(0)).toBe(1)
    expect(room).toEqual([0])
  })

  it('reuses the slots of a fan-out over many windows', () => {
    const { ledger } = ledgerFor('fan-out', 1, 3)
    for (let sequence = 0; sequence < WINDOW_COUNT * 5; sequence++) {
      ledger.send(0, 1)
      for (const subscriber of [2, 0, 1]) {
        expect(ledger.underWayCount(0)).toBe(1)
        ledger.receive(subscriber, 0, sequence)
      }
      expect(ledger.underWayCount(0)).toBe(0)
    }
    expect(ledger.faults()).toEqual(nothing)
    expect(ledger.receivedCount).toBe(WINDOW_COUNT * 5 * 3)
  })

  it('counts a copy of a fan-out that one subscriber misses', () => {
    const { ledger } = ledgerFor('fan-out', 1, 3)
    ledger.send(0, 2)
    for (const subscriber of [0, 1]) for (const sequence of [0, 1]) ledger.receive(subscriber, 0, sequence)
    ledger.receive(2, 0, 1)
    expect(ledger.faults()).toEqual({ ...nothing, lost: 1 })
    expect(ledger.isSettled).toBe(true)
  })
})
