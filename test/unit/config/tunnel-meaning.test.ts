import { describe, expect, it } from 'vitest'
import { configSchema, type ConfigInput } from '../../../src/config/schema.ts'
import { checkMeaning } from '../../../src/config/semantics.ts'

const listeners: ConfigInput['listeners'] = [
  { type: 'tcp', port: 1883, host: '0.0.0.0', allowAnonymous: true },
  { type: 'tcp', port: 1884, host: '127.0.0.1', allowAnonymous: true, mountpoint: 'plant/' },
]

function findings(tunnel: ConfigInput['tunnel']): { mistakes: string[]; warnings: string[] } {
  const { mistakes, warnings } = checkMeaning(configSchema.parse({ listeners, tunnel }))
  const lines = (found: typeof mistakes): string[] =>
    found
      .map(({ path, message }) => `${path.join('.')}: ${message}`)
      .filter((line) => line.startsWith('tunnel'))
  return { mistakes: lines(mistakes), warnings: lines(warnings) }
}

const listen = (entry: object): ConfigInput['tunnel'] => ({
  listen: [{ bind: '127.0.0.1:2222', to: 'pi7/ssh', ...entry }],
})

describe('what is checked of tunnel.listen', () => {
  it.each([
    ['127.0.0.1:2222'],
    ['0.0.0.0:2222'],
    ['[::1]:2222'],
    [':2222'],
    ['127.0.0.1:0'],
    ['gateway.example:65535'],
  ])('%s is an address to listen on', (bind) => {
    expect(findings(listen({ bind }))).toEqual({ mistakes: [], warnings: [] })
  })

  it.each([
    [{ bind: '0.0.0.0:65536' }, 'tunnel.listen.0.bind: 65536 is not a port: 0 to 65535'],
    [{ bind: 'a..b:22' }, 'tunnel.listen.0.bind: "a..b" is not an address or host name'],
    [
      { allow: ['10.0.0.0/8', '10.0.0.0/33'] },
      'tunnel.listen.0.allow.1: "10.0.0.0/33" is not an address or CIDR',
    ],
    [{ trustedProxies: ['lb'], proxyProtocol: 'trusted' }, 'tunnel.listen.0.trustedProxies.0: "lb" is not'],
    [{ proxyProtocol: 'trusted' }, 'tunnel.listen.0.proxyProtocol: "trusted" needs trustedProxies'],
    [{ mountpoint: 'a/+/' }, 'tunnel.listen.0.mountpoint: "a/+/" cannot begin a topic'],
    [
      { to: 'broker/ssh' },
      'tunnel.listen.0.to: the broker itself is "broker", and tunnel.services has no "ssh"',
    ],
    [
      { to: 'broker/toString' },
      'tunnel.listen.0.to: the broker itself is "broker", and tunnel.services has no',
    ],
  ])('%o is a mistake', (entry, message) => {
    const { mistakes } = findings(listen(entry))
    expect(mistakes).toHaveLength(1)
    expect(mistakes[0]).toContain(message)
  })

  it.each([
    [':1883', '1883 is the port of listeners.0 already'],
    ['127.0.0.1:1884', '1884 is the port of listeners.1 already'],
    ['127.0.0.2:1884', undefined],
    [':9090', '9090 is the port of admin already'],
  ])('the port of %s: %s', (bind, message) => {
    const admin = { host: '127.0.0.1', port: 9090 }
    const { mistakes } = checkMeaning(configSchema.parse({ listeners, admin, tunnel: listen({ bind }) }))
    expect(mistakes.map((mistake) => mistake.message)).toEqual(message === undefined ? [] : [message])
  })

  it('two entries cannot have one port, but any number of them port 0', () => {
    const entry = { bind: '0.0.0.0:2222', to: 'pi7/ssh' }
    expect(findings({ listen: [entry, { ...entry, bind: '127.0.0.1:2222' }] }).mistakes).toEqual([
      'tunnel.listen.1.bind: 2222 is the port of tunnel.listen.0 already',
    ])
    const any = { ...entry, bind: '0.0.0.0:0' }
    expect(findings({ listen: [any, any] }).mistakes).toEqual([])
  })

  it('a port may lead to a service of the broker, at its mountpoint', () => {
    const services = { web: { target: '127.0.0.1:80', mountpoint: 'plant/' } }
    const to = { bind: ':80', to: 'broker/web' }
    expect(findings({ services, listen: [{ ...to, mountpoint: 'plant/' }] }).mistakes).toEqual([])
    expect(findings({ services, listen: [to] }).mistakes).toEqual([
      'tunnel.listen.0.to: the broker itself is "broker", and tunnel.services has no "web" at this mountpoint',
    ])
  })
})

describe('what is checked of tunnel.services', () => {
  it.each([['db.internal:5432'], ['[fd00::1]:22'], ['unix:/run/app.sock']])('%s is a target', (target) => {
    expect(findings({ services: { x: { target } } })).toEqual({ mistakes: [], warnings: [] })
  })

  it.each([
    ['127.0.0.1:0', 'tunnel.services.x.target: 0 is not a port: 1 to 65535'],
    ['127.0.0.1:70000', 'tunnel.services.x.target: 70000 is not a port: 1 to 65535'],
    ['-host:22', 'tunnel.services.x.target: "-host" is not an address or host name'],
  ])('%s is none', (target, message) => {
    expect(findings({ services: { x: { target } } }).mistakes).toEqual([message])
  })
})

describe('what is warned of', () => {
  it('ports and services that nobody can reach, and what has no effect', () => {
    const services = { x: { target: '127.0.0.1:22', mountpoint: 'away/' } }
    expect(
      findings({ ...listen({ mountpoint: 'none/', trustedProxies: ['10.0.0.1'] }), services }).warnings,
    ).toEqual([
      'tunnel.listen.0.mountpoint: no listener has the mountpoint "none/"',
      'tunnel.listen.0.trustedProxies: has no effect while proxyProtocol is off',
      'tunnel.services.x.mountpoint: no listener has the mountpoint "away/"',
    ])
    expect(findings({ ...listen({}), services, enabled: false }).warnings).toEqual([
      'tunnel.listen: has no effect while tunnel.enabled is off',
      'tunnel.services: has no effect while tunnel.enabled is off',
    ])
  })
})
