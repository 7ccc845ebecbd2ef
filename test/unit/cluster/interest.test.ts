import { setImmediate as nextTurn } from 'node:timers/promises'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { createAnnouncer, type Announcer } from '../../../src/cluster/announcer.ts'
import { createInterest } from '../../../src/cluster/interest.ts'
import type { Op, Writer } from '../../../src/store/redis/contract.ts'

/** Keeps what is submitted; each op is answered when the test says so. */
function recordingWriter(): { writer: Writer; ops: Op[] } {
  const ops: Op[] = []
  const writer: Writer = {
    submit: (op) => void ops.push(op),
    barrier: (settle) => settle(),
    pendingWrites: 0,
    pendingBytes: 0,
    commits: 0,
    failure: undefined,
  }
  return { writer, ops }
}

function announcerOn(writer: Writer): Announcer {
  return createAnnouncer({
    writer,
    op: 'tell',
    encode: ({ name, value, reason }) => [name, value ?? '-', reason],
  })
}

describe('what a pod tells of itself', () => {
  it('goes at the end of the turn, the last of each name only', async () => {
    const { writer, ops } = recordingWriter()
    const announcer = announcerOn(writer)
    announcer.set('a', '1')
    announcer.set('b', '1')
    announcer.set('a', '2')
    announcer.set('a', '2')
    announcer.remove('b', 'why')
    announcer.remove('c')
    expect(ops).toEqual([])
    await nextTurn()
    expect(ops.map(({ args, frees }) => ({ args, frees }))).toEqual([
      { args: ['b', '-', 'why'], frees: true },
      { args: ['a', '2', ''], frees: false },
    ])
    await nextTurn()
    expect(ops).toHaveLength(2)
  })

  it('goes in ops of a bounded size', () => {
    const { writer, ops } = recordingWriter()
    const announcer = announcerOn(writer)
    for (let index = 0; index < 2_500; index++) announcer.set(`${index}`, '1')
    announcer.set('x'.repeat(70_000), '1')
    announcer.set('y', '1')
    announcer.flush()
    expect(ops.every(({ bytes }) => bytes <= 64 * 1024 + 70_100)).toBe(true)
    expect(ops.reduce((sum, { args }) => sum + args.length / 3, 0)).toBe(2_502)
    expect(ops.length).toBeGreaterThan(2)
  })

  it('is told again when it failed, as it is by then', () => {
    vi.useFakeTimers()
    try {
      const { writer, ops } = recordingWriter()
      const announcer = announcerOn(writer)
      announcer.set('a', '1')
      announcer.set('b', '1')
      announcer.flush()
      expect(announcer.failure).toBeUndefined()
      ops[0]?.settle(new Error('no room'), undefined)
      expect(announcer.failure).toMatchObject({ message: 'no room' })
      announcer.set('a', '2')
      announcer.flush()
      expect(ops).toHaveLength(2)
      vi.advanceTimersByTime(1_000)
      announcer.flush()
      expect(announcer.failure).toBeUndefined()
      expect(ops[2]?.args).toEqual(['a', '2', '', 'b', '1', ''])
    } finally {
      vi.useRealTimers()
    }
  })

  it('is compared with what Redis has, and only the difference is told', () => {
    const { writer, ops } = recordingWriter()
    const announcer = announcerOn(writer)
    announcer.set('same', '1')
    announcer.set('other', '2')
    announcer.set('lost', '3')
    announcer.flush()
    announcer.reconcile(
      new Map([
        ['same', '1'],
        ['other', '1'],
        ['left over', '1'],
      ]),
    )
    announcer.flush()
    expect(ops.slice(1).map(({ args }) => args)).toEqual([
      ['left over', '-', ''],
      ['other', '2', '', 'lost', '3', ''],
    ])
  })
})

describe('interest', () => {
  beforeEach(() => {
    vi.useFakeTimers()
  })
  afterEach(() => {
    vi.useRealTimers()
  })

  function world() {
    const { writer, ops } = recordingWriter()
    const wants = announcerOn(writer)
    const groups = announcerOn(writer)
    const interest = createInterest({ wants, groups })
    return { interest, ops }
  }

  it('is told once, however many have a filter, and withdrawn late', () => {
    const { interest, ops } = world()
    for (let index = 0; index < 3; index++) interest.want('f')
    vi.advanceTimersByTime(1)
    expect(ops.splice(0).map(({ args }) => args)).toEqual([['f', '1', '']])
    for (let index = 0; index < 3; index++) interest.unwant('f')
    interest.unwant('f')
    interest.unwant('unknown')
    vi.advanceTimersByTime(29_000)
    expect(ops).toEqual([])
    vi.advanceTimersByTime(12_000)
    expect(ops.map(({ args }) => args)).toEqual([['f', '-', '']])
    interest.want('f')
    vi.advanceTimersByTime(1)
    expect(ops.map(({ args }) => args)).toEqual([
      ['f', '-', ''],
      ['f', '1', ''],
    ])
    interest.close()
    expect(vi.getTimerCount()).toBe(0)
  })

  it('costs nothing for a client that is back soon', () => {
    const { interest, ops } = world()
    interest.want('f')
    vi.advanceTimersByTime(1)
    for (let round = 0; round < 10; round++) {
      interest.unwant('f')
      vi.advanceTimersByTime(25_000)
      interest.want('f')
    }
    vi.advanceTimersByTime(100_000)
    expect(ops).toHaveLength(1)
  })

  it('withdraws a group at once, when its last member goes', () => {
    const { interest, ops } = world()
    interest.joinGroup('g/f', 'f')
    interest.joinGroup('g/f', 'f')
    interest.quitGroup('g/f')
    vi.advanceTimersByTime(1)
    interest.quitGroup('g/f')
    interest.quitGroup('g/f')
    vi.advanceTimersByTime(1)
    expect(ops.map(({ args }) => args)).toEqual([
      ['g/f', 'f', ''],
      ['g/f', '-', ''],
    ])
  })
})
