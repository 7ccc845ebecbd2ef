import { BitString, Integer, OctetString, Utf8String } from 'asn1js'
import { createHash, randomBytes, webcrypto } from 'node:crypto'
import { SocketAddress, isIP } from 'node:net'
import {
  AttributeTypeAndValue,
  AuthorityKeyIdentifier,
  BasicConstraints,
  Certificate as X509,
  ExtKeyUsage,
  Extension,
  GeneralName,
  GeneralNames,
} from 'pkijs'

/** A certificate with its key, both PEM (PKCS#8). */
export interface Certificate {
  readonly certificatePem: string
  readonly keyPem: string
}

/** A certificate that can sign others. */
export interface Authority extends Certificate {
  sign(names: readonly string[]): Promise<Certificate>
}

/** Nobody renews what stands on a shelf; ca.key is there for those who do. */
const VALID_YEARS = 10
/** Clocks of small machines are behind at times. */
const BACKDATED_MS = 24 * 3_600_000
const SERIAL_BYTES = 16

/** Object identifiers: RFC 5280 sections 4.2.1.1 to 4.2.1.3, 4.2.1.6, 4.2.1.9, 4.2.1.12, and appendix A.1. */
const Oid = {
  commonName: '2.5.4.3',
  subjectKeyIdentifier: '2.5.29.14',
  keyUsage: '2.5.29.15',
  subjectAltName: '2.5.29.17',
  basicConstraints: '2.5.29.19',
  authorityKeyIdentifier: '2.5.29.35',
  extendedKeyUsage: '2.5.29.37',
  serverAuthentication: '1.3.6.1.5.5.7.3.1',
} as const
/** GeneralName, RFC 5280 section 4.2.1.6. */
const NameType = { dns: 2, ip: 7 } as const
/** First bits of KeyUsage, RFC 5280 section 4.2.1.3. */
const KeyUsage = { digitalSignature: 0x80, certSign: 0x04, crlSign: 0x02 } as const

/** An authority of one's own, and server certificates of it: ECDSA over P-256, which every TLS client knows. */
export async function createAuthority(commonName: string): Promise<Authority> {
  const keys = await createKeys()
  const constraints = new BasicConstraints({ cA: true, pathLenConstraint: 0 })
  const certificate = createX509(commonName, commonName, [
    extension(Oid.basicConstraints, constraints.toSchema().toBER(), true),
    keyUsage(KeyUsage.certSign | KeyUsage.crlSign),
  ])
  const issuerId = await keyIdentifier(keys.publicKey)
  const finish = async (one: X509, of: webcrypto.CryptoKeyPair): Promise<Certificate> => {
    await one.subjectPublicKeyInfo.importKey(of.publicKey)
    // Both are asked for by strict clients, such as Python since 3.13.
    const subjectId = new OctetString({ valueHex: await keyIdentifier(of.publicKey) })
    const authorityId = new AuthorityKeyIdentifier({ keyIdentifier: new OctetString({ valueHex: issuerId }) })
    one.extensions?.push(
      extension(Oid.subjectKeyIdentifier, subjectId.toBER()),
      extension(Oid.authorityKeyIdentifier, authorityId.toSchema().toBER()),
    )
    await one.sign(keys.privateKey, 'SHA-256')
    return {
      certificatePem: pem('CERTIFICATE', one.toSchema(true).toBER()),
      keyPem: pem('PRIVATE KEY', await webcrypto.subtle.exportKey('pkcs8', of.privateKey)),
    }
  }
  return {
    ...(await finish(certificate, keys)),
    async sign(names) {
      const server = createX509(names[0] ?? '', commonName, [
        extension(Oid.basicConstraints, new BasicConstraints({ cA: false }).toSchema().toBER(), true),
        keyUsage(KeyUsage.digitalSignature),
        extension(
          Oid.extendedKeyUsage,
          new ExtKeyUsage({ keyPurposes: [Oid.serverAuthentication] }).toSchema().toBER(),
        ),
        extension(
          Oid.subjectAltName,
          new GeneralNames({ names: names.map((name) => generalName(name)) }).toSchema().toBER(),
        ),
      ])
      return finish(server, await createKeys())
    },
  }
}

function createKeys(): Promise<webcrypto.CryptoKeyPair> {
  return webcrypto.subtle.generateKey({ name: 'ECDSA', namedCurve: 'P-256' }, true, ['sign', 'verify'])
}

/** Of the bits of the public key: RFC 5280 section 4.2.1.2, method 1. */
async function keyIdentifier(key: webcrypto.CryptoKey): Promise<ArrayBuffer> {
  const point = Buffer.from(await webcrypto.subtle.exportKey('raw', key))
  return bytes(createHash('sha1').update(point).digest())
}

function createX509(subject: string, issuer: string, extensions: Extension[]): X509 {
  const serial = randomBytes(SERIAL_BYTES)
  // Positive, and of full length: RFC 5280 section 4.1.2.2.
  serial[0] = (serial[0]! & 0x7f) | 0x40
  const certificate = new X509({
    version: 2,
    serialNumber: new Integer({ valueHex: bytes(serial) }),
    extensions,
  })
  certificate.subject.typesAndValues.push(commonNameOf(subject))
  certificate.issuer.typesAndValues.push(commonNameOf(issuer))
  certificate.notBefore.value = new Date(Date.now() - BACKDATED_MS)
  const end = new Date()
  end.setUTCFullYear(end.getUTCFullYear() + VALID_YEARS)
  certificate.notAfter.value = end
  return certificate
}

function commonNameOf(name: string): AttributeTypeAndValue {
  // RFC 5280 appendix A.1: ub-common-name. What holds are the alternative names.
  return new AttributeTypeAndValue({
    type: Oid.commonName,
    value: new Utf8String({ value: name.slice(0, 64) }),
  })
}

function extension(extnID: string, extnValue: ArrayBuffer, critical = false): Extension {
  return new Extension({ extnID, critical, extnValue })
}

function keyUsage(bits: number): Extension {
  // DER: without the zero bits at its end (X.690 section 11.2.2).
  const unusedBits = Math.clz32(bits & -bits) === 31 ? 0 : 31 - Math.clz32(bits & -bits)
  const value = new BitString({ valueHex: Uint8Array.of(bits).buffer, unusedBits })
  return extension(Oid.keyUsage, value.toBER(), true)
}

function generalName(name: string): GeneralName {
  if (isIP(name) === 0) return new GeneralName({ type: NameType.dns, value: name })
  return new GeneralName({
    type: NameType.ip,
    value: new OctetString({ valueHex: bytes(addressBytes(name)) }),
  })
}

/** 4 or 16 bytes. */
function addressBytes(address: string): Buffer {
  if (isIP(address) === 4) return Buffer.from(address.split('.').map(Number))
  // One spelling: `::` stands for the groups that are missing, and nothing is written in decimal.
  const text = new SocketAddress({ address, family: 'ipv6' }).address
  const hex = text.replace(/(\d+)\.(\d+)\.(\d+)\.(\d+)$/, (_, ...parts: string[]) => {
    const [a = 0, b = 0, c = 0, d = 0] = parts.slice(0, 4).map(Number)
    return `${((a << 8) | b).toString(16)}:${((c << 8) | d).toString(16)}`
  })
  const [head = '', tail] = hex.split('::')
  const left = head === '' ? [] : head.split(':')
  const right = tail === undefined || tail === '' ? [] : tail.split(':')
  const groups = [...left, ...Array<string>(8 - left.length - right.length).fill('0'), ...right]
  return Buffer.from(groups.map((group) => group.padStart(4, '0')).join(''), 'hex')
}

function bytes(buffer: Buffer): ArrayBuffer {
  return new Uint8Array(buffer).buffer
}

function pem(label: string, der: ArrayBuffer): string {
  const lines =
    Buffer.from(der)
      .toString('base64')
      .match(/.{1,64}/g) ?? []
  return `-----BEGIN ${label}-----\n${lines.join('\n')}\n-----END ${label}-----\n`
}
