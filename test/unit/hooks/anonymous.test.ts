import { describe, expect, it } from 'vitest'
import { createAnonymousHandler } from '../../../src/hooks/anonymous.ts'
import { AuthError, noOpinion } from '../../../src/hooks/types.ts'
import { fakeSession } from './fakes.ts'

describe('the anonymous handler', () => {
  it('allows clients without credentials, if it is to', () => {
    expect(createAnonymousHandler({ allow: true }).authConnect?.(fakeSession())).toBeUndefined()
    expect(() => createAnonymousHandler({ allow: false }).authConnect?.(fakeSession())).toThrow(AuthError)
  })

  it('has no opinion on clients with credentials', () => {
    for (const allow of [true, false]) {
      const handler = createAnonymousHandler({ allow })
      expect(handler.authConnect?.(fakeSession({ username: 'a' }))).toBe(noOpinion)
      expect(handler.authConnect?.(fakeSession({ password: 'p' }))).toBe(noOpinion)
    }
  })
})
