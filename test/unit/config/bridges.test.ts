import { describe, expect, it } from 'vitest'
import { parseConfig } from '../../../src/config/load.ts'
import { ConfigError } from '../../../src/config/mistake.ts'
import { printConfig } from '../../../src/config/print.ts'

const good = { name: 'a', url: 'mqtt://other', topics: [{ filter: '#' }] }

async function mistakes(...bridges: object[]): Promise<string[]> {
  try {
    await parseConfig({ bridges: bridges as never })
    return []
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error
    return error.mistakes.map(({ path, message }) => `${path.slice(1).join('.')} ${message}`)
  }
}

const withTopics = (...topics: object[]) => ({ ...good, topics })

describe('bridges in the configuration', () => {
  it('are printed without passwords and the tokens of URLs', async () => {
    const url = 'wss://us:geheim@other/mqtt?token=geheim'
    const text = printConfig((await parseConfig({ bridges: [{ ...good, url }] })).config)
    expect(text).toContain('url: wss://us:***@other/mqtt?***')
    expect(text).not.toContain('geheim')
  })

  it.each([
    ['one map', good],
    ['$SYS out under a prefix', withTopics({ filter: '$SYS/#', remotePrefix: 'brokers/a/' })],
    ['in and out of the same topics', withTopics({ filter: 'a/#' }, { filter: 'a/#', direction: 'in' })],
    ['overlaps that lead to the same place', withTopics({ filter: 'a/#' }, { filter: 'a/b', qos: 2 })],
    ['TLS', { ...good, url: 'mqtts://x:1', tls: { servername: 'y' } }],
  ])('may have %s', async (_, bridge) => {
    expect(await mistakes(bridge)).toEqual([])
  })

  it.each([
    ['a URL without a host', { ...good, url: 'mqtt://:1883' }, 'url'],
    ['TLS without TLS', { ...good, tls: {} }, 'tls'],
    ['two passwords', { ...good, username: 'u', password: 'p', passwordFile: __filename }, 'passwordFile'],
    ['a password without a user', { ...good, password: 'p' }, 'username'],
    ['a user twice', { ...good, url: 'mqtt://u@x', username: 'u' }, 'username'],
    ['a file that is not there', { ...good, username: 'u', passwordFile: '/no/such' }, 'passwordFile'],
    [
      'a longest wait below the shortest',
      { ...good, reconnectMinMs: 2, reconnectMaxMs: 1 },
      'reconnectMaxMs',
    ],
    ['a wait that no timer can take', { ...good, reconnectMaxMs: 2 ** 31 }, 'reconnectMaxMs'],
    ['a keep-alive that MQTT has no room for', { ...good, keepaliveSeconds: 65_536 }, 'keepaliveSeconds'],
    ['a wildcard in a prefix', withTopics({ filter: 'a', localPrefix: '+/' }), 'localPrefix'],
    ['a filter that is none', withTopics({ filter: 'a#' }), 'filter'],
    ['a prefix that makes it none', withTopics({ filter: '#', localPrefix: 'a' }), 'filter'],
    ['$SYS as a target', withTopics({ filter: '$SYS/#' }), 'nobody publishes'],
    ['a shared subscription', withTopics({ filter: '$share/g/a', remotePrefix: 'x/' }), 'shared'],
    ['tunnels', withTopics({ filter: '$tunnel/#', remotePrefix: 'x/' }), 'tunnels'],
    [
      'maps that part',
      withTopics({ filter: 'a/#' }, { filter: 'a/b', remotePrefix: 'x/' }),
      'leads elsewhere',
    ],
    ['a mountpoint with a wildcard', { ...good, mountpoint: '#' }, 'mountpoint'],
  ])('may not have %s', async (_, bridge, told) => {
    const found = await mistakes(bridge)
    expect(found.join('\n')).toContain(told)
    expect(found.length).toBeGreaterThan(0)
  })

  it('have names of their own, and do not take back what another one has brought', async () => {
    const there = { ...good, name: 'there', topics: [{ filter: 'a/#', direction: 'out' }] }
    const back = { ...good, name: 'back', topics: [{ filter: '#', direction: 'in' }] }
    expect((await mistakes(there, { ...back, name: 'there' })).join()).toContain('is the name of bridges.0')
    expect((await mistakes(there, back)).join()).toContain('are a loop')
    expect((await mistakes(back, { ...there, url: 'mqtt://other:1883' })).join()).toContain('are a loop')
    expect(await mistakes(there, { ...back, url: 'mqtt://another' })).toEqual([])
    expect(await mistakes(there, { ...back, topics: [{ filter: 'b', direction: 'in' }] })).toEqual([])
  })
})
