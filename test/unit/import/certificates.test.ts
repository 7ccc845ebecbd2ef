import { describe, expect, it } from 'vitest'
import { importMosquitto } from '../../../src/import/mosquitto.ts'
import { importVernemq } from '../../../src/import/vernemq.ts'
import type { Draft } from '../../../src/import/draft.ts'
import { settingsOf } from './settings-of.ts'

const tls = 'cafile /ca.pem\ncertfile /c.pem\nkeyfile /k.pem\nrequire_certificate true\n'

function effects(draft: Draft, ...keys: string[]): string[] {
  return draft.notes.filter(({ key }) => keys.includes(key)).map(({ effect, key }) => `${effect} ${key}`)
}

describe('what mosquitto does with client certificates', () => {
  const of = (text: string) => importMosquitto(settingsOf(text, 'mosquitto')).draft

  it('becomes a certificate handler of that listener, in place of its passwords', () => {
    const draft = of(
      `password_file /p\nacl_file /a\nlistener 8883\n${tls}use_identity_as_username true\ncrlfile /x.crl\nlistener 1883`,
    )
    expect(draft.config.listeners[0]?.handlers).toEqual([
      { type: 'certificate', required: true, revocation: { depth: 'leaf', crl: { files: ['/x.crl'] } } },
      { type: 'acl-file', file: '/a' },
    ])
    expect(draft.config.listeners[1]).not.toHaveProperty('handlers')
    expect(effects(draft, 'use_identity_as_username', 'crlfile')).toEqual([
      'carried use_identity_as_username',
      'carried crlfile',
    ])
  })

  it('takes the whole subject', () => {
    const { config } = of(`listener 8883\n${tls}use_subject_as_username true`)
    expect(config.listeners[0]?.handlers).toEqual([
      { type: 'certificate', required: true, identity: { from: 'subject' } },
    ])
  })

  it('keeps passwords and anonymous clients where only a list is named', () => {
    const { config } = of(`password_file /p\nallow_anonymous true\nlistener 8883\n${tls}crlfile /x.crl`)
    expect(config.listeners[0]?.handlers).toEqual([
      expect.objectContaining({ type: 'certificate', username: 'ignore', decides: false }),
      { type: 'anonymous', allow: true },
      { type: 'password-file', file: '/p' },
    ])
  })

  it('is lost where nobody can show a certificate', () => {
    const draft = of('listener 1883\nuse_identity_as_username true\ncrlfile /x.crl')
    expect(effects(draft, 'use_identity_as_username', 'crlfile')).toEqual([
      'lost use_identity_as_username',
      'lost crlfile',
    ])
    expect(draft.config.listeners[0]).not.toHaveProperty('handlers')
  })
})

describe('what VerneMQ does with client certificates', () => {
  const text = `
    listener.ssl.cafile = /ca.pem
    listener.ssl.certfile = /c.pem
    listener.ssl.keyfile = /k.pem
    listener.ssl.require_certificate = on
    listener.ssl.use_identity_as_username = on
    listener.ssl.one = 0.0.0.0:8883
    listener.ssl.two = 0.0.0.0:8884
    listener.ssl.two.crlfile = /x.crl
    listener.tcp.proxied = 127.0.0.1:1884
    listener.tcp.proxied.proxy_protocol = on
    listener.tcp.proxied.proxy_protocol_use_cn_as_username = on
    listener.tcp.plain = 127.0.0.1:1883
    plugins.vmq_acl = off
  `
  it('becomes a certificate handler before the others, with one note each', () => {
    const { draft } = importVernemq(settingsOf(text, 'vernemq'), '/etc/vernemq/vernemq.conf')
    const passwords = { type: 'password-file', file: '/etc/vernemq/vmq.passwd' }
    const named = { type: 'certificate', required: true, decides: false }
    expect(draft.config.listeners.map(({ handlers }) => handlers)).toEqual([
      [named, passwords],
      [{ ...named, revocation: { depth: 'leaf', crl: { files: ['/x.crl'] } } }, passwords],
      [{ ...named, proxyCertificateName: true }, passwords],
      undefined,
    ])
    expect(
      draft.notes
        .filter(({ key }) => /crl|as_username/.test(key))
        .map(({ effect, key }) => `${effect} ${key}`),
    ).toEqual([
      'changed listener.ssl.use_identity_as_username',
      'carried listener.ssl.two.crlfile',
      'changed listener.tcp.proxied.proxy_protocol_use_cn_as_username',
    ])
  })
})
