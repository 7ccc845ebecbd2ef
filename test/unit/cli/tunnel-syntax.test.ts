import { describe, expect, it } from 'vitest'
import { readDestination, readForward, readTarget } from '../../../src/config/tunnel-endpoint-syntax.ts'

describe('a forward', () => {
  it.each([
    ['2222=pi7/ssh', { host: '127.0.0.1', port: 2222 }],
    ['0=pi7/ssh', { host: '127.0.0.1', port: 0 }],
    ['0.0.0.0:2222=pi7/ssh', { host: '0.0.0.0', port: 2222 }],
    ['localhost:2222=pi7/ssh', { host: 'localhost', port: 2222 }],
    ['[::1]:2222=pi7/ssh', { host: '::1', port: 2222 }],
    ['*:2222=pi7/ssh', { host: '*', port: 2222 }],
    ['unix:/run/a=b.sock=pi7/ssh', { path: '/run/a=b.sock' }],
  ])('can be %s', (text, listen) => {
    expect(readForward(text)).toEqual({ agent: 'pi7', service: 'ssh', listen })
  })

  it.each([
    'pi7/ssh',
    '2222:pi7/ssh',
    '2222=pi7',
    '2222=pi7/ssh/x',
    '2222=pi 7/ssh',
    '70000=pi7/ssh',
    '::1:2222=pi7/ssh',
    '[127.0.0.1]:22=pi7/ssh',
    'a b:22=pi7/ssh',
    'unix:x=pi7/ssh',
    '=pi7/ssh',
  ])('cannot be %s', (text) => {
    expect(readForward(text)).toBeTypeOf('string')
  })
})

describe('a target', () => {
  it.each([
    ['127.0.0.1:22', { host: '127.0.0.1', port: 22 }],
    ['localhost:8080', { host: 'localhost', port: 8080 }],
    ['[::1]:22', { host: '::1', port: 22 }],
    ['unix:/run/x.sock', { path: '/run/x.sock' }],
  ])('can be %s', (text, place) => {
    expect(readTarget(text)).toEqual(place)
  })

  it.each(['22', ':22', '127.0.0.1', '127.0.0.1:0', 'unix:x', 'http://x', '::1:22', '*:22'])(
    'cannot be %s',
    (text) => {
      expect(readTarget(text)).toBeTypeOf('string')
    },
  )
})

it('says what of a destination is wrong', () => {
  expect(readDestination('pi7/ssh')).toEqual({ agent: 'pi7', service: 'ssh' })
  expect(readDestination('pi7')).toContain('agent/service')
  expect(readDestination('pi7/s$h')).toContain('"s$h" is not a name')
})
