import { describe, expect, it } from 'vitest'
import { ErrorCode } from '../../../../src/errors.ts'
import { parseBrokerUrl } from '../../../../src/tunnel/link/url.ts'

describe('the URL of a broker', () => {
  it.each([
    ['mqtt://host', 'tcp', 'host', 1883],
    ['tcp://host', 'tcp', 'host', 1883],
    ['mqtt://host:99/', 'tcp', 'host', 99],
    ['mqtts://host', 'tls', 'host', 8883],
    ['ssl://host:1', 'tls', 'host', 1],
    ['mqtt://[::1]:1884', 'tcp', '::1', 1884],
    ['mqtt://10.0.0.1', 'tcp', '10.0.0.1', 1883],
  ])('%s is a socket', (text, transport, host, port) => {
    expect(parseBrokerUrl(text)).toMatchObject({ transport, host, port, path: '' })
  })

  it.each([
    ['ws://host', 'ws', 'ws://host:80/mqtt'],
    ['wss://host', 'wss', 'wss://host:443/mqtt'],
    ['ws://host/', 'ws', 'ws://host:80/'],
    ['wss://host:8443/a/b?c=d', 'wss', 'wss://host:8443/a/b?c=d'],
    ['ws://host?c=d', 'ws', 'ws://host:80/mqtt?c=d'],
    ['ws://[::1]:9001', 'ws', 'ws://[::1]:9001/mqtt'],
  ])('%s is a WebSocket', (text, transport, url) => {
    expect(parseBrokerUrl(text)).toMatchObject({ transport, url })
  })

  it.each(['unix:/run/mqtt.sock', 'unix:///run/mqtt.sock'])('%s is a socket of the system', (text) => {
    const address = parseBrokerUrl(text)
    expect(address).toMatchObject({
      transport: 'unix',
      path: '/run/mqtt.sock',
      display: 'unix:/run/mqtt.sock',
    })
  })

  it('holds user name and password, which no message shows', () => {
    for (const scheme of ['mqtt', 'mqtts', 'ws', 'wss']) {
      const address = parseBrokerUrl(`${scheme}://us%40er:pass%2Fword@host:1/`)
      expect(address.credentials).toEqual({ username: 'us@er', password: 'pass/word' })
      expect(address.display).toMatch(/:\/\/host:1\/?$/)
    }
    expect(parseBrokerUrl('ws://host/p?token=secret').display).toBe('ws://host:80/p')
    expect(parseBrokerUrl('ws://user:pass@host')).toMatchObject({ url: 'ws://host:80/mqtt' })
  })

  it.each([
    'host',
    'host:1883',
    'http://secret@host',
    'mqtt://',
    'mqtt://secret@host:0',
    'mqtt://secret@host:70000',
    'mqtt://secret@host/path',
    'mqtt://u:secret%zz@host',
    'unix:relative/secret',
    'unix:',
    '',
  ])("'%s' is none, and the message repeats nothing of it", (text) => {
    let error: unknown
    try {
      parseBrokerUrl(text)
    } catch (thrown) {
      error = thrown
    }
    expect(error).toMatchObject({ code: ErrorCode.usage, message: expect.not.stringContaining('secret') })
  })
})
