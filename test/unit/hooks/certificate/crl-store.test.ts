import { expect, it } from 'vitest'
import type { Authority, Link } from '../../../../src/hooks/certificate/authorities.ts'
import { CrlStore } from '../../../../src/hooks/certificate/crl-store.ts'

it('knows who is on a signed list also when the clock is behind it', () => {
  const name = Buffer.from('ca')
  const store = new CrlStore()
  store.set('a file', [
    {
      issuer: name,
      thisUpdateMs: 10_000_000,
      nextUpdateMs: 20_000_000,
      scope: { onlyUsers: false, onlyCas: false, uris: undefined },
      serials: new Set(['7']),
      isSignedBy: () => true,
    },
  ])
  const statusOf = (serial: string, nowMs: number) => {
    const authority = { id: 'ca', name } as Authority
    return store.statusOf({ authority, serial, isCa: false, crlUrls: [] as readonly string[] } as Link, nowMs)
  }
  // Of the others a list of tomorrow says nothing today.
  expect([statusOf('7', 0), statusOf('8', 0)]).toEqual(['revoked', 'missing'])
  expect([statusOf('7', 15_000_000), statusOf('8', 15_000_000)]).toEqual(['revoked', 'good'])
  expect([statusOf('7', 25_000_000), statusOf('8', 25_000_000)]).toEqual(['revoked', 'stale'])
})
