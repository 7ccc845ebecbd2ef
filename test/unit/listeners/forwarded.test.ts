import { describe, expect, it } from 'vitest'
import { createCidrList } from '../../../src/listeners/cidr.ts'
import { forwardedClient } from '../../../src/listeners/forwarded.ts'

const trusted = createCidrList(['10.0.0.0/8', 'fd00::/8'])

describe('the client in X-Forwarded-For', () => {
  it.each([
    ['the only entry', '192.0.2.1', '192.0.2.1', 0],
    [
      'the right-most entry that is no trusted proxy',
      '192.0.2.66, 192.0.2.1, 10.0.0.2, fd00::3',
      '192.0.2.1',
      0,
    ],
    ['the left-most entry where all are trusted', '10.0.0.7, 10.0.0.2', '10.0.0.7', 0],
    ['an entry with a port', '192.0.2.1:5000', '192.0.2.1', 5000],
    ['an IPv6 entry', '2001:DB8::1', '2001:db8::1', 0],
    ['an IPv6 entry with a port', '[2001:db8::1]:5000', '2001:db8::1', 5000],
    [
      'the last trusted proxy before an entry that cannot be read',
      '192.0.2.1, unknown, 10.0.0.2',
      '10.0.0.2',
      0,
    ],
  ])('is %s', (_, header, address, port) => {
    expect(forwardedClient(header, trusted)).toEqual({ address, port })
  })

  it.each([undefined, '', 'unknown', '192.0.2.1, ', '192.0.2.1:70000', '1.2.3.4:5:6'])(
    'is nobody in %j',
    (header) => {
      expect(forwardedClient(header, trusted)).toBeUndefined()
    },
  )
})
