import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { createExpiry } from '../../../src/hooks/expiry.ts'
import { fakeSession } from './fakes.ts'

const day = 86_400_000

beforeEach(() => void vi.useFakeTimers({ now: 0 }))
afterEach(() => void vi.useRealTimers())

function open() {
  const expiry = createExpiry()
  const ended = vi.fn()
  expiry.onEnd(ended)
  return { expiry, ended, session: fakeSession() }
}

describe('the end of a session', () => {
  it('is told once, also when it is further away than a timer of Node can wait', () => {
    const { expiry, ended, session } = open()
    expiry.note(session, 60 * day)
    expiry.start(session)
    expiry.start(session)
    vi.advanceTimersByTime(60 * day - 1)
    expect(ended).not.toHaveBeenCalled()
    expect(expiry.hasEnded(session)).toBe(false)
    vi.advanceTimersByTime(1)
    expect(ended).toHaveBeenCalledTimes(1)
    expect(ended).toHaveBeenCalledWith(session)
    expect(expiry.hasEnded(session)).toBe(true)
    expect(vi.getTimerCount()).toBe(0)
  })

  it('is told soon when the clock is set past it', () => {
    const { expiry, ended, session } = open()
    expiry.note(session, 60 * day)
    expiry.start(session)
    vi.setSystemTime(61 * day)
    vi.advanceTimersByTime(60_000)
    expect(ended).toHaveBeenCalledTimes(1)
  })

  it('is told at once of one that has ended before it was connected', () => {
    const { expiry, ended, session } = open()
    expiry.note(session, -1)
    expiry.start(session)
    expect(ended).toHaveBeenCalledTimes(1)
  })

  it('leaves no timer behind for one that has gone, nor for one without an end', () => {
    const { expiry, ended, session } = open()
    expiry.start(fakeSession())
    expiry.note(session, day)
    expiry.start(session)
    expiry.forget(session)
    expect(vi.getTimerCount()).toBe(0)
    const last = fakeSession()
    expiry.note(last, day)
    expiry.start(last)
    expiry.close()
    expect(vi.getTimerCount()).toBe(0)
    expect(ended).not.toHaveBeenCalled()
  })
})
