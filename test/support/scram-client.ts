import { createHash, createHmac, pbkdf2Sync } from 'node:crypto'

/** The client's side of SCRAM-SHA-256 (RFC 5802), written apart from the broker's. */
export class ScramClient {
  readonly first: Buffer
  /** What the broker has to say last. */
  expected: Buffer | undefined
  readonly #bare: string
  readonly #header: string
  readonly #password: string

  constructor(username: string, password: string, options: { nonce?: string; header?: string } = {}) {
    const { nonce = `nonce-of-${username}`, header = 'n,,' } = options
    const written = username.replaceAll('=', '=3D').replaceAll(',', '=2C')
    this.#bare = `n=${written},r=${nonce}`
    this.#header = header
    this.#password = password
    this.first = Buffer.from(header + this.#bare)
  }

  /** The last message, to what the broker has said first. `nonce`: another one than it wants. */
  final(serverFirst: Buffer, nonce?: string): Buffer {
    const said = serverFirst.toString()
    const [, theirs = '', salt = '', iterations = ''] = /^r=([^,]+),s=([^,]+),i=(\d+)$/.exec(said) ?? []
    const salted = pbkdf2Sync(this.#password, Buffer.from(salt, 'base64'), Number(iterations), 32, 'sha256')
    const clientKey = hmac(salted, 'Client Key')
    const withoutProof = `c=${Buffer.from(this.#header).toString('base64')},r=${nonce ?? theirs}`
    const signed = `${this.#bare},${said},${withoutProof}`
    const signature = hmac(createHash('sha256').update(clientKey).digest(), signed)
    const proof = Buffer.from(clientKey.map((byte, index) => byte ^ signature[index]!))
    this.expected = Buffer.from(`v=${hmac(hmac(salted, 'Server Key'), signed).toString('base64')}`)
    return Buffer.from(`${withoutProof},p=${proof.toString('base64')}`)
  }
}

function hmac(key: Buffer, text: string): Buffer {
  return createHmac('sha256', key).update(text).digest()
}
