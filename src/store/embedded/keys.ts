/**
 * Keys of the embedded store. The first byte says what it is; numbers are big-endian, so that LevelDB's
 * order of bytes is their order.
 *
 *   s <kind: c|g> <id>           session                   value: session record
 *   t <n: u48> <filter>          its subscription          value: subscription
 *   q <n: u48> <seq: u48>        its queue                 value: entry
 *   i <n: u48> <messageId: u16>  its incoming QoS 2 id     value: version
 *   r <topic>                    retained message          value: message
 *   w <clientId>                 will                      value: message
 *   u <kind: i|g|r> <name>       identity, group or role   value: identity
 *   m identities                 revision of the last write of these, in digits
 *   m version                    layout.ts                 value: one byte
 *   m probe                      written after a failure   value: one byte
 *   x <key>                      a value that could not be decoded, under its former key
 */
export const KeyKind = {
  session: 0x73,
  subscription: 0x74,
  queue: 0x71,
  incoming: 0x69,
  retained: 0x72,
  will: 0x77,
  identity: 0x75,
  meta: 0x6d,
  quarantine: 0x78,
} as const
export type KeyKind = (typeof KeyKind)[keyof typeof KeyKind]

export const versionKey = Buffer.from('mversion')
export const identityRevisionKey = Buffer.from('midentities')
export const probeKey = Buffer.from('mprobe')

const NUMBER_BYTES = 6
const OWNED_BYTES = 1 + NUMBER_BYTES

function textKey(kind: KeyKind, text: string): Buffer {
  const key = Buffer.allocUnsafe(1 + Buffer.byteLength(text))
  key[0] = kind
  key.write(text, 1)
  return key
}

function ownedKey(kind: KeyKind, session: number, restBytes: number): Buffer {
  const key = Buffer.allocUnsafe(OWNED_BYTES + restBytes)
  key[0] = kind
  key.writeUIntBE(session, 1, NUMBER_BYTES)
  return key
}

export function sessionKey(kind: 'client' | 'group', id: string): Buffer {
  return textKey(KeyKind.session, `${kind === 'client' ? 'c' : 'g'}${id}`)
}

export function subscriptionKey(session: number, filter: string): Buffer {
  const key = ownedKey(KeyKind.subscription, session, Buffer.byteLength(filter))
  key.write(filter, OWNED_BYTES)
  return key
}

export function queueKey(session: number, seq: number): Buffer {
  const key = ownedKey(KeyKind.queue, session, NUMBER_BYTES)
  key.writeUIntBE(seq, OWNED_BYTES, NUMBER_BYTES)
  return key
}

export function incomingKey(session: number, messageId: number): Buffer {
  const key = ownedKey(KeyKind.incoming, session, 2)
  key.writeUInt16BE(messageId, OWNED_BYTES)
  return key
}

export function retainedKey(topic: string): Buffer {
  return textKey(KeyKind.retained, topic)
}

export function willKey(clientId: string): Buffer {
  return textKey(KeyKind.will, clientId)
}

/** `field`: see store/identities.ts. */
export function identityKey(field: string): Buffer {
  return textKey(KeyKind.identity, field)
}

export function quarantineKey(key: Buffer): Buffer {
  return Buffer.concat([Buffer.of(KeyKind.quarantine), key])
}

/** Half-open range of keys. */
export interface KeyRange {
  readonly from: Buffer
  readonly before: Buffer
}

export function allOf(kind: KeyKind): KeyRange {
  return { from: Buffer.of(kind), before: Buffer.of(kind + 1) }
}

/** Subscriptions, or identifiers, of one session. */
export function ownedBy(kind: KeyKind, session: number): KeyRange {
  return { from: ownedKey(kind, session, 0), before: ownedKey(kind, session + 1, 0) }
}

/** Session records that were set aside. */
export const damagedSessions: KeyRange = {
  from: quarantineKey(Buffer.of(KeyKind.session)),
  before: quarantineKey(Buffer.of(KeyKind.session + 1)),
}

/** Queue entries of a session with `seq > afterSeq`. */
export function queueRange(session: number, afterSeq: number): KeyRange {
  return { from: queueKey(session, afterSeq + 1), before: queueKey(session + 1, 0) }
}

export type ParsedKey =
  | { readonly kind: 'session'; readonly sessionKind: 'client' | 'group'; readonly id: string }
  | { readonly kind: 'subscription'; readonly session: number; readonly filter: string }
  | { readonly kind: 'queue'; readonly session: number; readonly seq: number }
  | { readonly kind: 'incoming'; readonly session: number; readonly messageId: number }
  | { readonly kind: 'retained' | 'will' | 'identity' | 'meta' | 'quarantine'; readonly name: string }

/** Takes a key apart; undefined for one that is none of ours. */
export function parseKey(key: Buffer): ParsedKey | undefined {
  switch (key[0]) {
    case KeyKind.session: {
      const mark = key.toString('latin1', 1, 2)
      if (mark !== 'c' && mark !== 'g') return undefined
      return { kind: 'session', sessionKind: mark === 'c' ? 'client' : 'group', id: key.toString('utf8', 2) }
    }
    case KeyKind.subscription:
      if (key.length <= OWNED_BYTES) return undefined
      return { kind: 'subscription', session: ownerOf(key), filter: key.toString('utf8', OWNED_BYTES) }
    case KeyKind.queue:
      if (key.length !== OWNED_BYTES + NUMBER_BYTES) return undefined
      return { kind: 'queue', session: ownerOf(key), seq: key.readUIntBE(OWNED_BYTES, NUMBER_BYTES) }
    case KeyKind.incoming:
      if (key.length !== OWNED_BYTES + 2) return undefined
      return { kind: 'incoming', session: ownerOf(key), messageId: key.readUInt16BE(OWNED_BYTES) }
    case KeyKind.retained:
      return { kind: 'retained', name: key.toString('utf8', 1) }
    case KeyKind.will:
      return { kind: 'will', name: key.toString('utf8', 1) }
    case KeyKind.identity:
      return { kind: 'identity', name: key.toString('utf8', 1) }
    case KeyKind.meta:
      return { kind: 'meta', name: key.toString('utf8', 1) }
    case KeyKind.quarantine:
      return { kind: 'quarantine', name: key.toString('latin1', 1) }
    default:
      return undefined
  }
}

/** A key as people can read it. */
export function describeKey(key: Buffer): string {
  const parsed = parseKey(key)
  if (parsed === undefined) return `unknown key ${key.toString('hex')}`
  switch (parsed.kind) {
    case 'session':
      return `${parsed.sessionKind} session ${JSON.stringify(parsed.id)}`
    case 'subscription':
      return `subscription ${JSON.stringify(parsed.filter)} of session number ${parsed.session}`
    case 'queue':
      return `queue entry ${parsed.seq} of session number ${parsed.session}`
    case 'incoming':
      return `incoming id ${parsed.messageId} of session number ${parsed.session}`
    default:
      return `${parsed.kind} ${JSON.stringify(parsed.name)}`
  }
}

function ownerOf(key: Buffer): number {
  return key.readUIntBE(1, NUMBER_BYTES)
}
