import { describe, expect, it } from 'vitest'
import { connectionOptions, type MqttLinkOptions } from '../../../../src/tunnel/link/options.ts'

const agent: MqttLinkOptions = { role: 'agent', name: 'pi7', url: 'mqtt://host' }

describe('options of a link', () => {
  it('are, for an agent, its filter and its will', () => {
    expect(connectionOptions(agent)).toMatchObject({
      filter: '$tunnel/pi7/+/+/up',
      connect: {
        clientId: 'pi7',
        keepaliveSeconds: 20,
        will: { topic: '$tunnel/pi7/status', payload: '{"online":false}' },
      },
      connectTimeoutMs: 10_000,
      maxPendingBytes: 262_144,
      tls: undefined,
    })
  })

  it('are, for a client, its filter and no will', () => {
    const options = connectionOptions({ ...agent, role: 'client', topicPrefix: 'a/b' })
    expect(options).toMatchObject({ filter: 'a/b/+/+/pi7/down', connect: { will: undefined } })
  })

  it('take credentials of their own before those of the URL', () => {
    const url = 'mqtt://u1:p1@host'
    expect(connectionOptions({ ...agent, url }).connect).toMatchObject({ username: 'u1', password: 'p1' })
    const own = { username: 'u2', password: Buffer.from('p2') }
    expect(connectionOptions({ ...agent, url, ...own }).connect).toMatchObject(own)
  })

  it.each<[string, Partial<MqttLinkOptions>, string]>([
    ['a name that is none', { name: 'a/b' }, 'TMQ_USAGE'],
    ['a prefix with a wildcard', { topicPrefix: 'a/+' }, 'TMQ_USAGE'],
    ['a prefix that ends with a slash', { topicPrefix: 'a/' }, 'TMQ_USAGE'],
    ['an empty prefix', { topicPrefix: '' }, 'TMQ_USAGE'],
    ['no keep-alive', { keepaliveSeconds: 0 }, 'TMQ_USAGE'],
    ['too long a keep-alive', { keepaliveSeconds: 65_536 }, 'TMQ_USAGE'],
    ['a deadline that no timer takes', { connectTimeoutMs: 2 ** 31 }, 'TMQ_USAGE'],
    ['no room for what waits', { maxPendingBytes: Number.NaN }, 'TMQ_USAGE'],
    ['a password without a user name', { password: 'secret' }, 'TMQ_USAGE'],
    ['a password that no packet holds', { username: 'u', password: 'secret'.repeat(11_000) }, 'TMQ_USAGE'],
    ['a certificate without its key', { url: 'mqtts://h', tls: { cert: 'x' } }, 'TMQ_USAGE'],
    ['a CA that is no PEM', { url: 'mqtts://h', tls: { ca: '-----BEGIN CERTIFICATE-----\nx' } }, 'TMQ_FILE'],
    [
      'a key that is no PEM',
      { url: 'wss://h', tls: { cert: 'x', key: 'x', passphrase: 'secret' } },
      'TMQ_FILE',
    ],
  ])('are refused with %s, and no secret is told', (_what, options, code) => {
    let error: unknown
    try {
      connectionOptions({ ...agent, ...options })
    } catch (thrown) {
      error = thrown
    }
    expect(error).toMatchObject({ code, message: expect.not.stringContaining('secret') })
  })
})
