import { describe, expect, it } from 'vitest'
import { createRateBook } from '../../../../src/gateway/coap/address-rates.ts'
import { Duplicates, EXCHANGE_LIFETIME_MS } from '../../../../src/gateway/coap/duplicates.ts'
import { Code } from '../../../../src/gateway/coap/message.ts'
import { Observation } from '../../../../src/gateway/coap/observation.ts'
import { Downloads, Uploads } from '../../../../src/gateway/coap/transfers.ts'

describe('Duplicates', () => {
  it('know a message again, with its answer, for as long as it may come', () => {
    const seen = new Duplicates({ maxMessages: 10, maxBytes: 1_000 })
    expect(seen.seen('a 1', 0)).toBeUndefined()
    expect(seen.seen('a 1', 1)).toMatchObject({ reply: undefined })
    seen.answered('a 1', Buffer.from('yes'))
    expect(seen.seen('a 1', EXCHANGE_LIFETIME_MS - 1)?.reply?.toString()).toBe('yes')
    expect(seen.seen('b 1', 2)).toBeUndefined()
    expect(seen.seen('a 1', EXCHANGE_LIFETIME_MS)).toBeUndefined()
  })

  it('forget the oldest, when there are too many or their answers too large', () => {
    const seen = new Duplicates({ maxMessages: 3, maxBytes: 100 })
    for (let id = 0; id < 5; id++) seen.seen(`a ${id}`, id)
    expect(seen.size).toBe(3)
    expect(seen.seen('a 4', 5)).toBeDefined()
    seen.answered('a 3', Buffer.alloc(200))
    seen.seen('a 9', 6)
    expect(seen.size).toBe(2)
    expect(seen.seen('a 4', 7)).toBeDefined()
  })
})

describe('Uploads', () => {
  const limits = { maxPayloadBytes: 64, maxTransfers: 2, timeoutMs: 100 }
  const block = (num: number, hasMore: boolean): Parameters<Uploads['take']>[2] => ({
    num,
    hasMore,
    sizeBytes: 16,
  })
  const bytes = (length = 16): Buffer => Buffer.alloc(length, length)
  const codeOf = (run: () => unknown): unknown => {
    try {
      return run()
    } catch (error) {
      return (error as { code: unknown }).code
    }
  }

  it('put blocks together in their order, and bear the last one twice', () => {
    const uploads = new Uploads(limits)
    expect(uploads.take('k', 't', block(0, true), bytes(), 0)).toBeUndefined()
    expect(uploads.take('k', 't', block(1, true), bytes(), 0)).toBeUndefined()
    expect(uploads.take('k', 't', block(1, true), bytes(), 0)).toBeUndefined()
    expect(uploads.take('k', 't', block(2, false), bytes(3), 0)).toEqual(
      Buffer.concat([bytes(), bytes(), bytes(3)]),
    )
    expect(uploads.size).toBe(0)
  })

  it('leave half of the places to clients whose address is true', () => {
    const uploads = new Uploads(limits)
    const take = (client: string, isTrue: boolean): unknown =>
      codeOf(() => uploads.take(client, 't', block(0, true), bytes(), 0, isTrue))
    expect(take('a', false)).toBeUndefined()
    expect(take('b', false)).toBe(Code.serviceUnavailable)
    expect(take('c', true)).toBeUndefined()
  })

  it('refuse a block that is not the next, of another size, or too much', () => {
    const uploads = new Uploads(limits)
    expect(codeOf(() => uploads.take('k', 't', block(1, true), bytes(), 0))).toBe(
      Code.requestEntityIncomplete,
    )
    uploads.take('k', 't', block(0, true), bytes(), 0)
    expect(codeOf(() => uploads.take('k', 't', block(2, true), bytes(), 0))).toBe(
      Code.requestEntityIncomplete,
    )
    expect(codeOf(() => uploads.take('k', 't', block(0, true), bytes(15), 0))).toBe(Code.badRequest)
    // One datagram cannot ask for memory: the last block there can be is one that is missing its others.
    expect(codeOf(() => uploads.take('k', 't', block(1_048_575, false), bytes(1), 0))).toBe(
      Code.requestEntityIncomplete,
    )
    for (let num = 0; num < 4; num++) uploads.take('k', 't', block(num, true), bytes(), 0)
    expect(codeOf(() => uploads.take('k', 't', block(4, false), bytes(1), 0))).toBe(
      Code.requestEntityTooLarge,
    )
    expect(uploads.size).toBe(0)
  })

  it('are bounded, and forgotten when no block comes', () => {
    const uploads = new Uploads(limits)
    uploads.take('a', 't', block(0, true), bytes(), 0)
    uploads.take('b', 't', block(0, true), bytes(), 50)
    expect(codeOf(() => uploads.take('c', 't', block(0, true), bytes(), 60))).toBe(Code.serviceUnavailable)
    expect(uploads.take('c', 't', block(0, true), bytes(), 100)).toBeUndefined()
    expect(codeOf(() => uploads.take('a', 't', block(1, true), bytes(), 101))).toBe(
      Code.requestEntityIncomplete,
    )
    uploads.deleteOf('c')
    expect(uploads.size).toBe(1)
    const many = new Uploads({ ...limits, maxTransfers: 100 })
    for (const name of ['1', '2', '3', '4']) many.take('a', name, block(0, true), bytes(), 0)
    expect(codeOf(() => many.take('a', '5', block(0, true), bytes(), 0))).toBe(Code.tooManyRequests)
    expect(many.take('b', '1', block(0, true), bytes(), 0)).toBeUndefined()
  })
})

describe('Downloads', () => {
  it('are bounded, the oldest goes, and none stays for long', () => {
    const downloads = new Downloads({ maxPayloadBytes: 1, maxTransfers: 2, timeoutMs: 100 })
    const body = { bytes: Buffer.from('x'), eTag: Buffer.from('e'), format: [] }
    for (const key of ['a', 'b', 'c']) downloads.keep(key, body, 0)
    expect(downloads.size).toBe(2)
    expect(downloads.get('a', 1)).toBeUndefined()
    expect(downloads.get('b', 50)).toMatchObject(body)
    expect(downloads.get('b', 149)).toMatchObject(body)
    expect(downloads.get('c', 100)).toBeUndefined()
  })
})

describe('Observation', () => {
  const open = (): Observation =>
    new Observation({
      token: Buffer.from('t'),
      filter: '#',
      qos: 1,
      downloadKey: 'k',
      blockBytes: 1_024,
      maxQueued: 2,
    })
  const notice = (topic: string, text: string, taken: string[]): Parameters<Observation['push']>[0] => ({
    message: { topic, payload: Buffer.from(text), qos: 1, retain: false },
    taken: () => taken.push(text),
  })

  it('keeps the newest message of each topic, and lets go of each other one exactly once', () => {
    const observation = open()
    const taken: string[] = []
    expect(observation.push(notice('a', 'a1', taken))).toBe(0)
    expect(observation.push(notice('b', 'b1', taken))).toBe(0)
    expect(observation.push(notice('a', 'a2', taken))).toBe(1)
    expect(observation.push(notice('c', 'c1', taken))).toBe(1)
    expect(taken).toEqual(['a1', 'a2'])
    expect(observation.next()?.message.payload.toString()).toBe('b1')
    observation.clear()
    expect(taken).toEqual(['a1', 'a2', 'c1'])
    expect(observation.hasNotice).toBe(false)
  })

  it('numbers its notifications upwards', () => {
    const observation = open()
    const first = observation.nextSequence()
    expect(observation.nextSequence()).toBe(first + 1)
  })
})

describe('createRateBook', () => {
  it('counts each address by itself', () => {
    const rates = createRateBook(2)
    expect([rates.take('a', 0), rates.take('a', 0), rates.take('a', 0), rates.take('b', 0)]).toEqual([
      true,
      true,
      false,
      true,
    ])
    expect(rates.take('a', 500)).toBe(true)
    expect(rates.take('a', 500)).toBe(false)
  })
})
