import { describe, expect, it } from 'vitest'
import { Refusals, type Refused } from '../../../src/broker/refusals.ts'

const refused = (more: Partial<Refused> = {}): Refused => ({ point: 'publish', reason: 'no', ...more })

describe('refusals that are kept', () => {
  it('are given newest first, with null for what is not known', () => {
    let nowMs = 1_000
    const refusals = new Refusals(10, () => nowMs)
    refusals.note(refused({ client: 'a', topic: 't', handler: 'acl' }))
    nowMs = 2_000
    refusals.note(refused({ point: 'connection', address: '192.0.2.1', listener: 'tcp' }))
    expect(refusals.list('pod', 10)).toEqual([
      {
        at: '1970-01-01T00:00:02.000Z',
        pod: 'pod',
        point: 'connection',
        client: null,
        username: null,
        address: '192.0.2.1',
        listener: 'tcp',
        topic: null,
        handler: null,
        reason: 'no',
        times: 1,
      },
      expect.objectContaining({ at: '1970-01-01T00:00:01.000Z', client: 'a', topic: 't', handler: 'acl' }),
    ])
    expect(refusals.list('pod', 1)).toHaveLength(1)
  })

  it('are one when they are equal and come one after the other, at the time of the last', () => {
    let nowMs = 0
    const refusals = new Refusals(10, () => nowMs)
    for (nowMs = 1; nowMs <= 5; nowMs++) refusals.note(refused({ client: 'a' }))
    for (const field of ['topic', 'username', 'address', 'listener', 'handler', 'reason'] as const)
      refusals.note(refused({ client: 'a', [field]: 'another' }))
    refusals.note(refused({ client: 'a' }))
    const times = refusals.list('pod', 100).map((one) => one.times)
    expect(times).toEqual([1, 1, 1, 1, 1, 1, 1, 5])
    expect(refusals.list('pod', 100).at(-1)?.at).toBe('1970-01-01T00:00:00.005Z')
  })

  it('are the last so many, whatever came before', () => {
    const refusals = new Refusals(3)
    for (let i = 0; i < 100; i++) {
      refusals.note(refused({ client: `c${i}` }))
      const expected = Array.from({ length: Math.min(3, i + 1) }, (_, back) => `c${i - back}`)
      expect(refusals.list('pod', 10).map(({ client }) => client)).toEqual(expected)
    }
  })

  it('keep no more than 256 bytes of what a client has made long, cut at a character', () => {
    const refusals = new Refusals(3)
    const long = `${'x'.repeat(254)}üü`
    refusals.note(refused({ topic: long, client: 'ü'.repeat(40_000), reason: long, username: long }))
    refusals.note(refused({ topic: long, client: 'ü'.repeat(40_000), reason: long, username: long }))
    const [kept] = refusals.list('pod', 1)
    expect(kept?.topic).toBe(`${'x'.repeat(254)}ü`)
    expect(kept?.client).toBe('ü'.repeat(128))
    expect(kept?.times).toBe(2)
    expect(kept?.reason).toBe(kept?.topic)
    expect(kept?.username).toBe(kept?.topic)
    // An emoji is two units of UTF-16, and four bytes.
    refusals.note(refused({ topic: `x${'😀'.repeat(64)}` }))
    expect(refusals.list('pod', 1)[0]?.topic).toBe(`x${'😀'.repeat(63)}`)
  })
})
