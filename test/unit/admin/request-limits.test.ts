import { describe, expect, it } from 'vitest'
import { createRequestLimits } from '../../../src/admin/request-limits.ts'

function limitsAt(nowMs: { value: number }, maxAddresses?: number) {
  return createRequestLimits({
    requestsPerSecond: 2,
    failuresPerMinute: 3,
    now: () => nowMs.value,
    ...(maxAddresses !== undefined && { maxAddresses }),
  })
}

describe('limits of requests', () => {
  it('give a key so many requests a second, and say when the next may come', () => {
    const now = { value: 0 }
    const limits = limitsAt(now)
    const take = () => limits.takeRequest('a')
    expect([take(), take(), take()]).toEqual([undefined, undefined, 1])
    expect(limits.takeRequest('b')).toBeUndefined()
    now.value = 500
    expect([take(), take()]).toEqual([undefined, 1])
    now.value = 60_000
    expect([take(), take(), take()]).toEqual([undefined, undefined, 1])
  })

  it('give an address so many failures a minute, and tell of the first that is too many', () => {
    const now = { value: 0 }
    const limits = limitsAt(now)
    const fail = () => limits.noteFailure('192.0.2.1')
    expect([fail(), fail(), fail()]).toEqual([undefined, undefined, undefined])
    expect([fail(), fail()]).toEqual([
      { retryAfterSeconds: 20, isFirst: true },
      { retryAfterSeconds: 20, isFirst: false },
    ])
    now.value = 20_000
    expect([fail(), fail()]).toEqual([undefined, { retryAfterSeconds: 20, isFirst: true }])
    expect(limits.noteFailure('192.0.2.2')).toBeUndefined()
  })

  it('count an IPv6 network as one address', () => {
    const limits = limitsAt({ value: 0 })
    const spellings = ['2001:db8:0:1::1', '2001:db8::1:0:0:0:2', '2001:0db8:0:1:ffff::']
    for (const address of spellings) expect(limits.noteFailure(address)).toBeUndefined()
    expect(limits.noteFailure('2001:db8:0:1::9')).toBeDefined()
    expect(limits.noteFailure('2001:db8:0:2::9')).toBeUndefined()
    expect(limits.noteFailure('::ffff:192.0.2.1')).toBeUndefined()
  })

  it('remember a bounded number of addresses, and forget the one that failed least lately', () => {
    const limits = limitsAt({ value: 0 }, 2)
    for (let count = 0; count < 3; count++) limits.noteFailure('192.0.2.1')
    limits.noteFailure('192.0.2.2')
    expect(limits.noteFailure('192.0.2.1')).toBeDefined()
    limits.noteFailure('192.0.2.3')
    expect(limits.noteFailure('192.0.2.1')).toBeDefined()
    limits.noteFailure('192.0.2.4')
    limits.noteFailure('192.0.2.5')
    expect(limits.noteFailure('192.0.2.1')).toBeUndefined()
  })
})
