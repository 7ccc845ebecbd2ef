import { describe, expect, it } from 'vitest'
import { checkedName, parseDestination } from '../../../../src/tunnel/endpoint/checked-name.ts'
import { parseTarget } from '../../../../src/tunnel/endpoint/target.ts'

describe('a target', () => {
  it.each([
    ['127.0.0.1:22', { kind: 'tcp', host: '127.0.0.1', port: 22 }],
    ['printer.local:631', { kind: 'tcp', host: 'printer.local', port: 631 }],
    ['[::1]:8080', { kind: 'tcp', host: '::1', port: 8080 }],
    ['[fe80::1%eth0]:80', { kind: 'tcp', host: 'fe80::1%eth0', port: 80 }],
    ['unix:/run/a b.sock', { kind: 'unix', path: '/run/a b.sock' }],
  ])('may be %s', (text, target) => {
    expect(parseTarget(text)).toEqual(target)
  })

  it.each(['', '22', 'host', 'host:', 'host:0', 'host:65536', '::1:22', '[::1]', 'unix:relative', 'a b:1'])(
    'cannot be "%s"',
    (text) => {
      expect(() => parseTarget(text)).toThrow(expect.objectContaining({ code: 'TMQ_USAGE' }))
    },
  )
})

describe('a destination', () => {
  it('is agent and service', () => {
    expect(parseDestination('pi7/ssh')).toEqual({ agent: 'pi7', service: 'ssh' })
  })

  it.each(['', 'pi7', 'pi7/', '/ssh', 'pi7/ssh/x', 'pi 7/ssh', `${'a'.repeat(65)}/ssh`, 'pi7/+', '#/ssh'])(
    'cannot be "%s"',
    (text) => {
      expect(() => parseDestination(text)).toThrow(expect.objectContaining({ code: 'TMQ_USAGE' }))
    },
  )

  it('shows a wrong name with its control characters escaped', () => {
    expect(() => checkedName('agent', 'a\u001b[2J')).toThrow('agent "a\\u001b[2J": a name is')
  })
})
