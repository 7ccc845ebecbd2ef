import { later, CoapRefusal } from './answer.ts'
import type { Block } from './block.ts'
import { Code, type CoapOption } from './message.ts'
import { OptionNumber, uintOption } from './options.ts'

export interface TransferLimits {
  /** Of one body. */
  readonly maxPayloadBytes: number
  /** Uploads that are not complete, and bodies that are being fetched: so many of each at once. */
  readonly maxTransfers: number
  /** Without another block. */
  readonly timeoutMs: number
}

/** Nobody takes the places of all. */
const MAX_UPLOADS_PER_CLIENT = 4

interface Upload {
  readonly blocks: Buffer[]
  bytes: number
  expiresAtMs: number
}

/**
 * Bodies that come in blocks (RFC 7959, 2.5), put together in order. Memory: at most
 * `maxTransfers` x `maxPayloadBytes`. Pure: the time is given.
 */
export class Uploads {
  readonly #limits: TransferLimits
  /** The one that has waited longest for its next block first. */
  readonly #uploads = new Map<string, Upload>()

  constructor(limits: TransferLimits) {
    this.#limits = limits
  }

  get size(): number {
    return this.#uploads.size
  }

  /**
   * Takes one block. The whole body, when it was the last one; undefined: more are to come.
   * @throws {CoapRefusal} 4.13 (too large), 4.08 (not the next block), 4.00 (not of its size) or 5.03 or 4.29 (too many
   * uploads). Clients whose address may be forged (`isTrue`) have half of the places.
   */
  take(
    client: string,
    name: string,
    block: Block,
    payload: Buffer,
    nowMs: number,
    isTrue = true,
  ): Buffer | undefined {
    this.#forget(nowMs)
    const key = `${client} ${name}`
    if (block.hasMore && payload.length !== block.sizeBytes) {
      this.#uploads.delete(key)
      throw new CoapRefusal(Code.badRequest, 'a block that is not the last has its full size')
    }
    const upload = block.num === 0 ? this.#begin(client, key, isTrue) : this.#uploads.get(key)
    const from = block.num * block.sizeBytes
    if (upload === undefined || from !== upload.bytes) {
      // The block before this one again, in a message of its own: its 2.31 was lost.
      if (block.hasMore && upload?.bytes === from + payload.length) return undefined
      this.#uploads.delete(key)
      throw new CoapRefusal(Code.requestEntityIncomplete, 'not the next block: begin with block 0')
    }
    if (from + payload.length > this.#limits.maxPayloadBytes) {
      this.#uploads.delete(key)
      throw tooLarge(this.#limits.maxPayloadBytes)
    }
    // The last in the order, as it waits from now on. A copy: a datagram is kept no longer than for its own turn.
    this.#uploads.delete(key)
    upload.blocks.push(Buffer.from(payload))
    upload.bytes += payload.length
    if (!block.hasMore) return Buffer.concat(upload.blocks)
    upload.expiresAtMs = nowMs + this.#limits.timeoutMs
    this.#uploads.set(key, upload)
    return undefined
  }

  /** All of one client, which is gone. */
  deleteOf(client: string): void {
    for (const key of this.#uploads.keys()) if (key.startsWith(`${client} `)) this.#uploads.delete(key)
  }

  #begin(client: string, key: string, isTrue: boolean): Upload {
    this.#uploads.delete(key)
    const own = [...this.#uploads.keys()].filter((other) => other.startsWith(`${client} `))
    if (own.length >= MAX_UPLOADS_PER_CLIENT)
      throw later(Code.tooManyRequests, 'too many uploads of this client at once')
    if (this.#uploads.size >= this.#limits.maxTransfers / (isTrue ? 1 : 2))
      throw later(Code.serviceUnavailable, 'too many uploads at once')
    return { blocks: [], bytes: 0, expiresAtMs: 0 }
  }

  #forget(nowMs: number): void {
    for (const [key, { expiresAtMs }] of this.#uploads) {
      if (nowMs < expiresAtMs) return
      this.#uploads.delete(key)
    }
  }
}

/** RFC 7959, 2.9.3: Size1 says what would be taken. */
export function tooLarge(maxPayloadBytes: number): CoapRefusal {
  const size = uintOption(OptionNumber.size1, maxPayloadBytes)
  return new CoapRefusal(Code.requestEntityTooLarge, `at most ${maxPayloadBytes} bytes`, [size])
}

/** What was sent to a client in its first block, and is fetched in further ones. */
export interface Body {
  readonly bytes: Buffer
  readonly eTag: Buffer
  /** The option that says what it is, if that is known. */
  readonly format: readonly CoapOption[]
}

/** Bodies that are fetched in blocks (RFC 7959, 2.4), as they were at the first one. Pure: the time is given. */
export class Downloads {
  readonly #limits: TransferLimits
  readonly #bodies = new Map<string, Body & { readonly expiresAtMs: number }>()

  constructor(limits: TransferLimits) {
    this.#limits = limits
  }

  get size(): number {
    return this.#bodies.size
  }

  /** In place of one that is there already. If there are too many, the oldest goes: its client reads it anew. */
  keep(key: string, body: Body, nowMs: number): void {
    this.#bodies.delete(key)
    for (const [oldKey, { expiresAtMs }] of this.#bodies) {
      if (this.#bodies.size < this.#limits.maxTransfers && nowMs < expiresAtMs) break
      this.#bodies.delete(oldKey)
    }
    this.#bodies.set(key, { ...body, expiresAtMs: nowMs + this.#limits.timeoutMs })
  }

  get(key: string, nowMs: number): Body | undefined {
    const body = this.#bodies.get(key)
    if (body === undefined || nowMs >= body.expiresAtMs) return undefined
    this.keep(key, body, nowMs)
    return body
  }

  deleteOf(client: string): void {
    for (const key of this.#bodies.keys()) if (key.startsWith(`${client} `)) this.#bodies.delete(key)
  }
}
