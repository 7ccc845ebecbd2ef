import { describe, expect, it } from 'vitest'
import { connackFailure, deadlineFailure, wireFailure } from '../../../../src/tunnel/link/failure.ts'
import { parseBrokerUrl } from '../../../../src/tunnel/link/url.ts'
import { HttpAnswer } from '../../../../src/tunnel/link/websocket.ts'

const address = parseBrokerUrl('mqtts://host')

const withCode = (code: string, message = code): Error => Object.assign(new Error(message), { code })

describe('why a connection was not made', () => {
  it.each([
    ['ECONNREFUSED', false, 'TMQ_UNREACHABLE', /^connection refused/],
    ['ENOTFOUND', true, 'TMQ_UNREACHABLE', /name of the host is not known/],
    ['EAI_AGAIN', false, 'TMQ_UNREACHABLE', /DNS does not answer/],
    ['EHOSTUNREACH', false, 'TMQ_UNREACHABLE', /no way to the host/],
    ['EACCES', true, 'TMQ_UNREACHABLE', /no permission/],
    ['SELF_SIGNED_CERT_IN_CHAIN', true, 'TMQ_UNREACHABLE', /not trusted .*give the CA/],
    ['ERR_TLS_CERT_ALTNAME_INVALID', true, 'TMQ_UNREACHABLE', /not trusted .*compare the host/],
    ['CERT_HAS_EXPIRED', true, 'TMQ_UNREACHABLE', /not trusted .*clock/],
    ['ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED', true, 'TMQ_CREDENTIALS', /refused the client certificate/],
    ['ERR_SSL_TLSV1_ALERT_UNKNOWN_CA', true, 'TMQ_CREDENTIALS', /refused the client certificate/],
    ['ERR_SSL_WRONG_VERSION_NUMBER', true, 'TMQ_UNREACHABLE', /does not speak TLS/],
    ['SOMETHING', false, 'TMQ_UNREACHABLE', /^SOMETHING$/],
  ])('%s has its words (fatal: %s)', (code, isFatal, ours, text) => {
    const failure = wireFailure(withCode(code), 'opening', address)
    expect(failure).toMatchObject({ code: ours, isFatal, text: expect.stringMatching(text) })
  })

  it('is taken from the code when there are no words, as for a host with several addresses', () => {
    expect(wireFailure(withCode('EFOO', ''), 'opening', address).text).toBe('EFOO')
  })

  it.each([
    [401, 'TMQ_CREDENTIALS', true],
    [403, 'TMQ_CREDENTIALS', true],
    [404, 'TMQ_UNREACHABLE', true],
    [502, 'TMQ_UNREACHABLE', false],
  ])('HTTP status %s', (status, code, isFatal) => {
    expect(wireFailure(new HttpAnswer(status), 'opening', address)).toMatchObject({ code, isFatal })
  })

  it.each([
    [1, 'TMQ_PROTOCOL', true],
    [2, 'TMQ_PROTOCOL', true],
    [3, 'TMQ_UNREACHABLE', false],
    [4, 'TMQ_CREDENTIALS', true],
    [5, 'TMQ_CREDENTIALS', true],
    [6, 'TMQ_PROTOCOL', false],
  ])('CONNACK %s', (connack, code, isFatal) => {
    expect(connackFailure(connack, 'pi7')).toMatchObject({ code, isFatal })
  })

  it('says how far it came', () => {
    expect(deadlineFailure('opening', 1_500).text).toMatch(/^no answer within 1.5 s/)
    expect(deadlineFailure('connack', 1_500).text).toMatch(/no CONNACK within 1.5 s/)
    expect(deadlineFailure('subscribing', 1_500).text).toMatch(/no SUBACK within 1.5 s/)
    expect(wireFailure(undefined, 'connack', address).text).toMatch(/closed before CONNACK/)
    expect(wireFailure(withCode('ECONNRESET'), 'subscribing', address).text).toMatch(/closed before SUBACK/)
  })
})
