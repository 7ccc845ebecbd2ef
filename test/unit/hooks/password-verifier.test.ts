import { describe, expect, it, vi } from 'vitest'
import { createPasswordVerifier } from '../../../src/hooks/password-verifier.ts'
import type { PasswordHash } from '../../../src/hooks/password-hash.ts'
import { PATIENCE } from '../../support/eventually.ts'

const hash: PasswordHash = {
  scheme: 'scrypt',
  log2N: 10,
  r: 8,
  p: 1,
  salt: Buffer.from('salt'),
  digest: Buffer.from('right'),
}
const live = new AbortController().signal

/** Hash calculations that the test ends by hand; right is the password `right`. */
function world() {
  const running: (() => void)[] = []
  const check = vi.fn((asked: PasswordHash, password: Buffer) => {
    const right = password.equals(asked.digest)
    return new Promise<boolean>((resolve) => running.push(() => resolve(right)))
  })
  const verifier = createPasswordVerifier(check)
  const verify = (username: string, password: string, signal = live, stored = hash) =>
    verifier.verify({ username, password: Buffer.from(password), hash: stored, signal })
  const finishOne = async () => {
    await vi.waitFor(() => expect(running.length).toBeGreaterThan(0), PATIENCE)
    running.shift()?.()
  }
  return { verifier, verify, check, running, finishOne }
}

describe('a password verifier', () => {
  it('answers from memory what it has verified, until it is cleared', async () => {
    const { verifier, verify, check, finishOne } = world()
    const first = verify('a', 'right')
    await finishOne()
    expect(await first).toBe(true)
    expect(verify('a', 'right')).toBe(true)
    expect(check).toHaveBeenCalledTimes(1)
    verifier.clear()
    const again = verify('a', 'right')
    await finishOne()
    expect(await again).toBe(true)
    expect(check).toHaveBeenCalledTimes(2)
  })

  it('remembers nothing for another name, another password, another hash, or a wrong password', async () => {
    const { verify, check, finishOne } = world()
    const other = { ...hash, salt: Buffer.from('pepper') }
    const asked = [
      ['a', 'right', hash],
      ['b', 'right', hash],
      ['a', 'right', other],
      ['a', 'wrong', hash],
      ['a', 'wrong', hash],
    ] as const
    const answers: boolean[] = []
    for (const [username, password, stored] of asked) {
      const answer = verify(username, password, live, stored)
      await finishOne()
      answers.push(await answer)
    }
    expect(answers).toEqual([true, true, true, false, false])
    expect(check).toHaveBeenCalledTimes(5)
  })

  it('calculates once for many clients with the same name and password', async () => {
    const { verify, check, finishOne } = world()
    const answers = Array.from({ length: 100 }, async () => verify('shared', 'right'))
    await finishOne()
    expect(new Set(await Promise.all(answers))).toEqual(new Set([true]))
    expect(check).toHaveBeenCalledTimes(1)
  })

  it('answers those who still wait when the first one has gone and its password is wiped', async () => {
    const { verifier, verify, finishOne } = world()
    const gone = new AbortController()
    const password = Buffer.from('right')
    const first = verifier.verify({ username: 'a', password, hash, signal: gone.signal })
    const second = verify('a', 'right')
    password.fill(0)
    gone.abort()
    await finishOne()
    expect(await first).toBe(true)
    expect(await second).toBe(true)
  })

  it('calculates at most two at once, and none for clients that have gone', async () => {
    const { verify, check, running, finishOne } = world()
    const gone = new AbortController()
    const answers = ['a', 'b', 'gone', 'd'].map(async (name) =>
      verify(name, 'x', name === 'gone' ? gone.signal : live),
    )
    await vi.waitFor(() => expect(running).toHaveLength(2), PATIENCE)
    gone.abort()
    await finishOne()
    await finishOne()
    await finishOne()
    expect(await Promise.all(answers)).toEqual([false, false, false, false])
    expect(check).toHaveBeenCalledTimes(3)
  })

  it('goes on after a calculation that failed', async () => {
    const check = vi.fn(() => Promise.reject<boolean>(new Error('out of memory')))
    const verifier = createPasswordVerifier(check)
    const request = { username: 'a', password: Buffer.from('x'), hash, signal: live }
    for (let attempt = 0; attempt < 5; attempt++) {
      await expect(verifier.verify(request)).rejects.toThrow('out of memory')
    }
    expect(check).toHaveBeenCalledTimes(5)
  })
})
