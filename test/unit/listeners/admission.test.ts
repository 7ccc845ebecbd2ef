import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  createAdmission,
  type Admission,
  type AdmissionLimits,
  type AdmissionListener,
} from '../../../src/listeners/admission.ts'

const open: AdmissionLimits = {
  maxConnections: 1_000,
  maxConnectionsPerAddress: 0,
  connectionsPerSecond: 0,
  connectionsPerSecondPerAddress: 0,
  banFailures: 0,
  banWindowMs: 60_000,
  banMs: 300_000,
}
const listener: AdmissionListener = { name: 'tcp-1883', maxConnections: 1_000 }

function withClock(limits: Partial<AdmissionLimits>): { admission: Admission; pass: (ms: number) => void } {
  let nowMs = 1_000_000
  return {
    admission: createAdmission({ ...open, ...limits }, () => nowMs),
    pass: (ms) => (nowMs += ms),
  }
}

function verdictsOf(admission: Admission, address: string, count: number, at = listener): string[] {
  return Array.from({ length: count }, () => {
    const verdict = admission.admit(address, at)
    return verdict.ok ? 'ok' : verdict.reason
  })
}

describe('admission', () => {
  it('refuses above the limit of all connections, and admits again after one has gone', () => {
    const { admission } = withClock({ maxConnections: 2 })
    expect(verdictsOf(admission, 'a', 3)).toEqual(['ok', 'ok', 'max-connections'])
    admission.release('a', listener)
    expect(verdictsOf(admission, 'b', 2)).toEqual(['ok', 'max-connections'])
  })

  it('counts each listener for itself, also two of one name', () => {
    const { admission } = withClock({})
    const first = { name: 'mqtt', maxConnections: 1 }
    const second = { name: 'mqtt', maxConnections: 1 }
    expect(verdictsOf(admission, 'a', 2, first)).toEqual(['ok', 'listener-max-connections'])
    expect(verdictsOf(admission, 'a', 2, second)).toEqual(['ok', 'listener-max-connections'])
    expect(admission.counts().byListener).toEqual(new Map([['mqtt', 2]]))
  })

  it('refuses above the limit of one address and admits others', () => {
    const { admission } = withClock({ maxConnectionsPerAddress: 2 })
    expect(verdictsOf(admission, 'a', 3)).toEqual(['ok', 'ok', 'address-max-connections'])
    expect(verdictsOf(admission, 'b', 1)).toEqual(['ok'])
  })

  it('admits as many a second as set, and no burst above that after a pause', () => {
    const { admission, pass } = withClock({ connectionsPerSecond: 2 })
    expect(verdictsOf(admission, 'a', 3)).toEqual(['ok', 'ok', 'connect-rate'])
    pass(500)
    expect(verdictsOf(admission, 'b', 2)).toEqual(['ok', 'connect-rate'])
    pass(60_000)
    expect(verdictsOf(admission, 'c', 3)).toEqual(['ok', 'ok', 'connect-rate'])
  })

  it('does not let one address that floods use up what is there for all', () => {
    const { admission } = withClock({ connectionsPerSecond: 3, connectionsPerSecondPerAddress: 1 })
    expect(
      verdictsOf(admission, 'a', 50).filter((verdict) => verdict === 'address-connect-rate'),
    ).toHaveLength(49)
    expect(verdictsOf(admission, 'b', 1)).toEqual(['ok'])
  })

  it('remembers the rate of an address while thousands of others come', () => {
    const { admission, pass } = withClock({ maxConnections: 100_000, connectionsPerSecondPerAddress: 1 })
    const crowd = { name: 'crowd', maxConnections: 100_000 }
    expect(verdictsOf(admission, 'a', 1, crowd)).toEqual(['ok'])
    for (let i = 0; i < 5_000; i++) admission.admit(`crowd-${i}`, crowd)
    expect(verdictsOf(admission, 'a', 1, crowd)).toEqual(['address-connect-rate'])
    pass(1_000)
    expect(verdictsOf(admission, 'a', 1, crowd)).toEqual(['ok'])
  })

  it('bans an address after so many refused credentials within the window, for the time set', () => {
    const { admission, pass } = withClock({ banFailures: 3, banWindowMs: 1_000, banMs: 5_000 })
    expect(admission.credentialsRefused('a')).toBe(false)
    pass(600)
    expect(admission.credentialsRefused('a')).toBe(false)
    pass(600) // the first failure is out of the window by now
    expect(admission.credentialsRefused('a')).toBe(false)
    expect(verdictsOf(admission, 'a', 1)).toEqual(['ok'])
    expect(admission.credentialsRefused('a')).toBe(true)
    expect(verdictsOf(admission, 'a', 1)).toEqual(['banned'])
    expect(verdictsOf(admission, 'b', 1)).toEqual(['ok'])
    expect(admission.bans()).toEqual([{ address: 'a', untilMs: 1_006_200 }])
    pass(5_000)
    expect(admission.bans()).toEqual([])
    expect(verdictsOf(admission, 'a', 1)).toEqual(['ok'])
  })

  it('never bans when failures are set to 0', () => {
    const { admission } = withClock({ banFailures: 0 })
    expect(Array.from({ length: 100 }, () => admission.credentialsRefused('a'))).not.toContain(true)
  })

  it('exempts unix sockets, which all have one address, from bans and limits per address', () => {
    const { admission } = withClock({
      banFailures: 1,
      maxConnectionsPerAddress: 1,
      connectionsPerSecondPerAddress: 1,
    })
    expect(admission.credentialsRefused('unix')).toBe(false)
    expect(verdictsOf(admission, 'unix', 3)).toEqual(['ok', 'ok', 'ok'])
  })

  it('keeps a bounded number of bans however many addresses an attacker has', () => {
    const { admission } = withClock({ banFailures: 1 })
    for (let i = 0; i < 70_000; i++) admission.credentialsRefused(`2001:db8::${i.toString(16)}`)
    expect(admission.bans()).toHaveLength(65_536)
    expect(verdictsOf(admission, `2001:db8::${(69_999).toString(16)}`, 1)).toEqual(['banned'])
  })

  it('never exceeds a limit and counts back to nothing, in whatever order connections come and go', () => {
    const limits = { maxConnections: 6, maxConnectionsPerAddress: 2 }
    const step = fc.record({
      come: fc.boolean(),
      address: fc.constantFrom('a', 'b', 'c', 'd'),
      pick: fc.nat(),
    })
    fc.assert(
      fc.property(fc.array(step, { maxLength: 100 }), (steps) => {
        const { admission } = withClock(limits)
        const inside: string[] = []
        for (const { come, address, pick } of steps) {
          if (come) {
            const expected = inside.length < 6 && inside.filter((other) => other === address).length < 2
            const verdict = admission.admit(address, listener)
            if (verdict.ok !== expected) throw new Error(`${address} among ${inside.join()}`)
            if (verdict.ok) inside.push(address)
          } else if (inside.length > 0) {
            const [gone = ''] = inside.splice(pick % inside.length, 1)
            admission.release(gone, listener)
          }
          expect(admission.counts().connections).toBe(inside.length)
          expect(admission.counts().addresses).toBe(new Set(inside).size)
        }
        for (const address of inside) admission.release(address, listener)
        expect(admission.counts()).toEqual({ connections: 0, addresses: 0, byListener: new Map() })
      }),
    )
  })
})

describe('a ban that another pod has made', () => {
  it('holds here too, until it ends, and makes none shorter', () => {
    const { admission, pass } = withClock({})
    admission.ban('a', 10_000)
    admission.ban('a', 1_000)
    pass(9_999)
    expect(verdictsOf(admission, 'a', 1)).toEqual(['banned'])
    expect(admission.isBanned('b')).toBe(false)
    pass(1)
    expect(admission.isBanned('a')).toBe(false)
  })

  it('never holds for a unix socket, which is everybody', () => {
    const { admission } = withClock({})
    admission.ban('unix', 10_000)
    expect(admission.isBanned('unix')).toBe(false)
  })
})
