import { describe, expect, it } from 'vitest'
import { serviceManagerOf, watchStore } from '../../../src/cli/systemd.ts'
import { createSilentLog } from '../../../src/log.ts'

it('without NOTIFY_SOCKET there is nobody to tell', () => {
  expect(serviceManagerOf({}, createSilentLog())).toBeUndefined()
  expect(serviceManagerOf({ NOTIFY_SOCKET: '' }, createSilentLog())).toBeUndefined()
})

describe('a store is well', () => {
  const looks = (...states: readonly { pendingWrites: number; commits: number; failure?: string }[]) => {
    let look = 0
    const isWell = watchStore(() => ({ failure: '', ...states[look++]! }))
    return states.map(() => isWell())
  }

  it('when it has nothing to do, and while it works', () => {
    expect(looks({ pendingWrites: 0, commits: 0 }, { pendingWrites: 0, commits: 0 })).toEqual([true, true])
    expect(looks({ pendingWrites: 3, commits: 1 }, { pendingWrites: 9, commits: 2 })).toEqual([true, true])
    // Idle for long, and asked in the very moment of a write.
    expect(looks({ pendingWrites: 0, commits: 5 }, { pendingWrites: 1, commits: 5 })).toEqual([true, true])
  })

  it('not when a write waits from one look to the next, and none is done', () => {
    const hung = { pendingWrites: 1, commits: 5 }
    expect(looks(hung, hung, { pendingWrites: 4, commits: 5 }, { pendingWrites: 1, commits: 6 })).toEqual([
      true,
      false,
      false,
      true,
    ])
  })

  it('when it says what is wrong: a restart would not help', () => {
    const failing = { pendingWrites: 1, commits: 5, failure: 'disk full' }
    expect(looks(failing, failing)).toEqual([true, true])
  })
})
