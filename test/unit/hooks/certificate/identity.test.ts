import { describe, expect, it } from 'vitest'
import { certificateHandlerSchema } from '../../../../src/config/certificate-schema.ts'
import { parseFingerprints } from '../../../../src/hooks/certificate/fingerprints.ts'
import { isAllowedUrl } from '../../../../src/hooks/certificate/http.ts'
import { createIdentityReader, distinguishedName } from '../../../../src/hooks/certificate/identity.ts'
import type { PeerCertificate } from '../../../../src/peer.ts'

const certificate: PeerCertificate = {
  subject: 'C=DE, O=Home\\, sweet + OU=A, CN=pi7',
  commonName: 'pi7',
  altNames: ['URI:"urn:x:a\\u002cb"', 'URI:urn:plain', 'DNS:"not json', 'IP Address:10.0.0.1'],
  issuer: 'CN=ca',
  serialNumber: '01',
  fingerprint256: 'AB:CD',
  validTo: 'Jan  1 00:00:00 2050 GMT',
  pem: '',
}

function read(identity: object, of = certificate): unknown {
  const config = certificateHandlerSchema.parse({ type: 'certificate', identity })
  return createIdentityReader(config.identity).ofCertificate(of)
}

describe('the identity of a certificate', () => {
  it('undoes the quotes that Node puts around strange names', () => {
    expect(read({ from: 'san', sanType: 'uri' })).toEqual({ identity: 'urn:x:a,b' })
    expect(read({ from: 'san', sanType: 'uri', pattern: 'urn:(plain)' })).toEqual({ identity: 'plain' })
    expect(read({ from: 'san', sanType: 'dns' })).toEqual({ fault: 'the certificate has no san (dns)' })
    expect(read({ from: 'san', sanType: 'uri', pattern: 'x' })).toHaveProperty('fault')
  })

  it('takes no name with U+0000', () => {
    expect(read({}, { ...certificate, commonName: 'root\0.example.com' })).toHaveProperty('fault')
    expect(read({}, { ...certificate, commonName: undefined })).toHaveProperty('fault')
  })

  it('writes a subject as RFC 2253 has it', () => {
    expect(distinguishedName(certificate.subject)).toBe('CN=pi7,O=Home\\, sweet+OU=A,C=DE')
    expect(read({ from: 'fingerprint' })).toEqual({ identity: 'abcd' })
  })
})

describe('a list of fingerprints', () => {
  const hex = 'ab'.repeat(32)
  it('takes what openssl prints, and hex', () => {
    const colons = hex.toUpperCase().replaceAll(/(..)(?!$)/g, '$1:')
    for (const line of [colons, `sha256 Fingerprint=${colons}`, `${hex} pi7`, `# no\n\n${hex}`])
      expect([...parseFingerprints(line, 'f')]).toEqual([hex])
  })

  it('names the line that is none', () => {
    expect(() => parseFingerprints(`${hex}\nnonsense`, '/f')).toThrow('/f:2: is not a SHA-256 fingerprint')
  })
})

describe('hosts that may be asked', () => {
  it.each([
    ['http://crl.example.com/a.crl', true],
    ['http://CRL.example.com:80/a.crl', true],
    ['http://crl.example.com:8080/', false],
    ['http://127.0.0.1:9000/', true],
    ['http://127.0.0.1/', false],
    ['http://user@crl.example.com/', false],
    ['http://crl.example.com.evil.example/', false],
    ['https://crl.example.com/', false],
    ['file:///etc/passwd', false],
    ['nonsense', false],
  ])('%s: %s', (url, expected) => {
    expect(isAllowedUrl(url, ['crl.example.com', '127.0.0.1:9000'])).toBe(expected)
  })
})
