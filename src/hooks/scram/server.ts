import { timingSafeEqual } from 'node:crypto'
import { saslprep } from './saslprep.ts'
import { fromBase64, hmac, sha256, type StoredKeys } from './stored-keys.ts'

/** The server's side of SCRAM-SHA-256 (RFC 5802 and RFC 7677), without channel binding. Pure. */

/** What a client says first. */
export interface ClientFirst {
  readonly username: string
  readonly nonce: string
  /** As it came: both are in what is signed. */
  readonly gs2Header: string
  readonly bare: string
}

/** A message that is none of SCRAM, or asks for what there is not: the text says what. */
export class ScramFault extends Error {}

/** Names and nonces of clients are short; RFC 5802 has no bound. */
const MAX_MESSAGE_BYTES = 1_024

/** @throws ScramFault */
export function parseClientFirst(data: Buffer): ClientFirst {
  const text = textOf(data)
  const match = /^(p=[A-Za-z0-9.-]+|n|y),(a=[^,]*)?,/.exec(text)
  if (match === null) throw new ScramFault('the first message has no GS2 header')
  if (match[1]!.startsWith('p=')) throw new ScramFault('channel binding is not offered')
  const gs2Header = match[0]
  const bare = text.slice(gs2Header.length)
  const [name, nonce] = bare.split(',')
  if (name?.startsWith('m=') === true) throw new ScramFault('a mandatory extension that is not known')
  if (!name?.startsWith('n=') || !nonce?.startsWith('r=') || !/^[!-+\--~]+$/.test(nonce.slice(2)))
    throw new ScramFault('the first message has no name and nonce')
  const username = nameOf(name.slice(2))
  if (match[2] !== undefined && nameOf(match[2].slice(2)) !== username)
    throw new ScramFault('it wants to act for another user')
  return { username, nonce: nonce.slice(2), gs2Header, bare }
}

export function serverFirst(nonce: string, { salt, iterations }: StoredKeys): string {
  return `r=${nonce},s=${salt.toString('base64')},i=${iterations}`
}

/**
 * What the client says last: the signature that proves the broker to it, if the proof is right; else undefined.
 * @throws ScramFault
 */
export function checkClientFinal(
  data: Buffer,
  said: { readonly client: ClientFirst; readonly serverFirst: string; readonly nonce: string },
  keys: StoredKeys,
): Buffer | undefined {
  const text = textOf(data)
  const proofAt = text.lastIndexOf(',p=')
  const withoutProof = text.slice(0, Math.max(0, proofAt))
  const [binding, nonce] = withoutProof.split(',')
  const proof = proofAt === -1 ? undefined : fromBase64(text.slice(proofAt + 3))
  if (binding === undefined || nonce === undefined || proof?.length !== keys.storedKey.length)
    throw new ScramFault('the last message has no channel binding, nonce and proof')
  if (binding !== `c=${Buffer.from(said.client.gs2Header).toString('base64')}`)
    throw new ScramFault('the channel binding is not that of the first message')
  if (!isSame(nonce, `r=${said.nonce}`)) throw new ScramFault('the nonce is not that of this exchange')
  const signed = `${said.client.bare},${said.serverFirst},${withoutProof}`
  const signature = hmac(keys.storedKey, signed)
  const clientKey = Buffer.from(proof.map((byte, index) => byte ^ signature[index]!))
  if (!timingSafeEqual(sha256(clientKey), keys.storedKey)) return undefined
  return Buffer.from(`v=${hmac(keys.serverKey, signed).toString('base64')}`)
}

function isSame(a: string, b: string): boolean {
  const [one, other] = [Buffer.from(a), Buffer.from(b)]
  return one.length === other.length && timingSafeEqual(one, other)
}

/** `=2C` and `=3D` stand for the comma and the equals sign. */
function nameOf(written: string): string {
  if (/=(?!2C|3D)/.test(written)) throw new ScramFault('a name with = that is not =2C or =3D')
  const prepared = saslprep(written.replaceAll('=2C', ',').replaceAll('=3D', '='))
  if ('fault' in prepared) throw new ScramFault(`the name is not allowed: ${prepared.fault}`)
  if (prepared.text === '') throw new ScramFault('the name is empty')
  return prepared.text
}

function textOf(data: Buffer): string {
  if (data.length > MAX_MESSAGE_BYTES)
    throw new ScramFault(`a message of more than ${MAX_MESSAGE_BYTES} bytes`)
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(data)
  } catch {
    throw new ScramFault('a message that is not UTF-8')
  }
}
