import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { credentialsOf, Fingerprint } from '../../../../src/gateway/http/credentials.ts'
import { parseRequest } from '../../../../src/gateway/http/request.ts'
import { contentTypeOf } from '../../../../src/gateway/http/retained-answer.ts'

const parse = (target: string, method: 'GET' | 'POST' | 'DELETE' = 'POST', path = '/mqtt', accept = '*/*') =>
  parseRequest({ method, target, path, accept })

describe('a request', () => {
  it('names any topic, and exactly that one', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme', minLength: 1 }), (topic) => {
        const target = `/mqtt/${encodeURIComponent(topic)}?qos=2&retain`
        const ask = {
          kind: 'publish',
          topics: [topic],
          qos: 2,
          retain: true,
          clientId: undefined,
          description: {},
        }
        expect(parse(target)).toEqual(ask)
      }),
    )
  })

  it('has topics at the root where the path is /', () => {
    expect(parse('/a/b', 'POST', '/').topics).toEqual(['a/b'])
    expect(() => parse('/', 'POST', '/')).toThrow('a topic is missing: /<topic>')
  })

  it('for a stream has filters from path and query, with their wildcards', () => {
    const ask = parse('/mqtt/a/+?topic=%23&topic=b+/+', 'GET', '/mqtt', 'text/html, Text/Event-Stream;q=0.9')
    expect(ask).toMatchObject({ kind: 'stream', topics: ['a/+', '#', 'b+/+'], qos: 0 })
    expect(parse('/mqtt?topic=a', 'GET', '/mqtt', 'text/event-stream').topics).toEqual(['a'])
  })

  it('to delete is a retained one', () => {
    expect(parse('/mqtt/a', 'DELETE')).toMatchObject({ kind: 'delete', retain: true, qos: 1 })
    expect(() => parse('/mqtt/a?retain=false', 'DELETE')).toThrow('unknown query parameter')
  })

  it('has no fragment', () => {
    expect(() => parse('/mqtt/a#b')).toThrow('%23')
  })
})

describe('credentials', () => {
  const basic = (text: string): string => `Basic ${Buffer.from(text).toString('base64')}`

  it('are the bytes as they are, also with colons and without a name', () => {
    expect(credentialsOf(undefined)).toEqual({})
    expect(credentialsOf(basic('ü:p:w'))).toEqual({ username: 'ü', password: Buffer.from('p:w') })
    expect(credentialsOf(basic(':'))).toEqual({ username: '', password: Buffer.alloc(0) })
    expect(credentialsOf('bearer a.b')).toEqual({ password: Buffer.from('a.b') })
  })

  it.each(['', 'Basic', 'Bearer', 'Bearer a b', 'Basic YQ', 'Basic /zo=', 'Basic AGE6eA==', 'Negotiate x'])(
    '%j are none',
    (authorization) => {
      expect(() => credentialsOf(authorization)).toThrow('Authorization')
    },
  )

  it('are the same only if each part is', () => {
    const one = new Fingerprint('Bearer a', undefined, '::1')
    expect(one.equals(new Fingerprint('Bearer a', undefined, '::1'))).toBe(true)
    const others = [
      ['Bearer b', undefined, '::1'],
      ['Bearer a', '', '::1'],
      ['Bearer a', undefined, '::2'],
      [undefined, 'Bearer a', '::1'],
    ]
    for (const other of others) expect(one.equals(new Fingerprint(...other))).toBe(false)
  })
})

describe('the type of a payload', () => {
  it.each([
    ['{"a":1}', undefined, 'application/octet-stream'],
    ['{"a":1}', '*/*', 'application/octet-stream'],
    ['{"a":1}', 'application/json', 'application/json'],
    ['{"a":', 'application/json, text/plain', 'text/plain; charset=utf-8'],
    ['{"a":1}', 'application/json;q=0', 'application/octet-stream'],
    ['<script>', 'text/html, image/svg+xml', 'application/octet-stream'],
  ])('%s for %s is %s', (payload, accept, type) => {
    expect(contentTypeOf(Buffer.from(payload), accept)).toBe(type)
  })

  it.each([
    ['{"a":1}', undefined, 'application/json; charset=utf-8', 'application/json'],
    ['{"a":1}', '*/*', 'application/json', 'application/json'],
    ['x', 'image/png, */*', 'Text/Plain', 'text/plain; charset=utf-8'],
    ['x', 'application/octet-stream', 'text/plain', 'application/octet-stream'],
    ['x', '*/*', 'application/senml+json', 'application/senml+json'],
    ['<script>', '*/*', 'text/html', 'application/octet-stream'],
    ['<svg>', 'image/svg+xml', 'image/svg+xml', 'application/octet-stream'],
    ['<script>', '*/*', 'application/json\r\nX: y', 'application/octet-stream'],
    ['<x/>', '*/*', 'application/xhtml+xml', 'application/octet-stream'],
  ])('%s for %s that was published as %j is %s', (payload, accept, published, type) => {
    expect(contentTypeOf(Buffer.from(payload), accept, published)).toBe(type)
  })

  it('is never text for what is no text', () => {
    expect(contentTypeOf(Buffer.of(0xff), 'text/plain, application/json')).toBe('application/octet-stream')
  })
})
