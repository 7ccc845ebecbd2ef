import fc from 'fast-check'
import { beforeEach, describe, expect, it, vi } from 'vitest'
import { PacketType } from '../../../src/broker/packets/types.ts'
import { PendingAcks, type PendingAck } from '../../../src/broker/pending-acks.ts'

const sent: number[] = []
const connection = { sendAck: (_type: PacketType, messageId: number) => void sent.push(messageId) }

beforeEach(() => {
  sent.length = 0
})

describe('acknowledgements', () => {
  it('leave in the order of their messages [MQTT-4.6.0-2], each as soon as those before it have left', () => {
    const step = fc.oneof(
      fc.record({ kind: fc.constant('now' as const) }),
      fc.record({ kind: fc.constant('later' as const) }),
      fc.record({ kind: fc.constant('settle' as const), which: fc.nat() }),
    )
    fc.assert(
      fc.property(fc.array(step, { maxLength: 40, size: 'max' }), (steps) => {
        sent.length = 0
        const acks = new PendingAcks(connection)
        const ready: boolean[] = []
        const open: { index: number; pending: PendingAck }[] = []
        const settle = (which: number): void => {
          const [one] = open.splice(which % open.length, 1)
          ready[one!.index] = true
          acks.settle(one!.pending)
        }
        const check = (): void => {
          const firstWaiting = ready.includes(false) ? ready.indexOf(false) : ready.length
          expect(sent).toEqual(Array.from({ length: firstWaiting }, (_, index) => index + 1))
          expect(acks.size).toBe(ready.length - firstWaiting)
          expect(Number.isFinite(acks.waitingSinceMs)).toBe(acks.size > 0)
        }
        for (const one of steps) {
          const messageId = ready.length + 1
          if (one.kind === 'now') {
            ready.push(true)
            acks.now(PacketType.puback, messageId)
          } else if (one.kind === 'later') {
            open.push({ index: ready.push(false) - 1, pending: acks.later(PacketType.pubrec, messageId, 0) })
          } else if (open.length > 0) settle(one.which)
          check()
        }
        while (open.length > 0) {
          settle(open.length - 1)
          check()
        }
      }),
    )
  })

  it('are of the type that was asked for', () => {
    const types: PacketType[] = []
    const acks = new PendingAcks({ sendAck: (type) => void types.push(type) })
    const pending = acks.later(PacketType.pubrec, 1, 0)
    acks.now(PacketType.puback, 2)
    acks.settle(pending)
    expect(types).toEqual([PacketType.pubrec, PacketType.puback])
  })

  it('tell since when nothing has moved', () => {
    vi.useFakeTimers({ now: 1_000 })
    try {
      const acks = new PendingAcks(connection)
      expect(acks.waitingSinceMs).toBe(Number.POSITIVE_INFINITY)
      const first = acks.later(PacketType.puback, 1, 0)
      vi.setSystemTime(2_000)
      const second = acks.later(PacketType.puback, 2, 0)
      const third = acks.later(PacketType.puback, 3, 0)
      expect(acks.waitingSinceMs).toBe(1_000)
      acks.settle(third)
      expect(acks.waitingSinceMs).toBe(1_000)
      acks.settle(first)
      expect(acks.waitingSinceMs).toBe(2_000)
      acks.settle(second)
      expect(acks.waitingSinceMs).toBe(Number.POSITIVE_INFINITY)
    } finally {
      vi.useRealTimers()
    }
  })
})
