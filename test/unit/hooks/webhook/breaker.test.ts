import { describe, expect, it, vi } from 'vitest'
import { Breaker } from '../../../../src/hooks/webhook/breaker.ts'
import { maxAgeMs } from '../../../../src/hooks/webhook/cache.ts'

describe('the circuit breaker', () => {
  it('opens after failures in a row, lets one through after the cool-down, and closes when that went well', () => {
    const onChange = vi.fn()
    const breaker = new Breaker({ failures: 2, cooldownMs: 100, onChange })
    breaker.failed(0)
    breaker.succeeded()
    breaker.failed(0)
    expect(breaker.enter(0)).toBe(true)
    breaker.failed(0)
    expect(onChange).toHaveBeenLastCalledWith(true)
    expect(breaker.enter(99)).toBe(false)
    expect([breaker.enter(100), breaker.enter(100)]).toEqual([true, false])
    breaker.failed(100)
    expect([breaker.enter(199), breaker.enter(200)]).toEqual([false, true])
    // Whoever was let through did not get to it: the next may.
    breaker.notAsked()
    expect([breaker.enter(200), breaker.enter(200)]).toEqual([true, false])
    breaker.succeeded()
    expect(breaker.enter(200)).toBe(true)
    expect(onChange.mock.calls).toEqual([[true], [false]])
  })
})

describe('the header Cache-Control', () => {
  it.each<[header: string | undefined, ms: number | undefined]>([
    [undefined, undefined],
    ['', undefined],
    ['private', undefined],
    ['max-age=', undefined],
    ['max-age=x', undefined],
    ['s-max-age=9', undefined],
    ['max-age=45', 45_000],
    ['  Max-Age=45,sthelse', 45_000],
    ['public, max-age="7"', 7_000],
    ['max-age=0', 0],
    ['max-age=9, no-store', 0],
    ['no-cache', 0],
  ])('%s', (header, ms) => {
    expect(maxAgeMs(header)).toBe(ms)
  })
})
