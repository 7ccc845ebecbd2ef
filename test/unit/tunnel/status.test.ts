import { describe, expect, it } from 'vitest'
import { encodeOffline, encodeStatus, parseStatus } from '../../../src/tunnel/status.ts'

const since = new Date('2026-11-21T10:00:00.000Z')
const own = { services: ['ssh', 'web'], version: 'tunnelmq/0.1.0', host: 'raspberrypi', since, streams: 3 }
const parse = (text: string): unknown => parseStatus('pi7', Buffer.from(text))

describe('the status of an agent', () => {
  it('is read as it was written', () => {
    expect(parse(encodeStatus(own))).toEqual({ id: 'pi7', online: true, protocol: 1, ...own })
  })

  it('stays below 4,096 bytes, with the first of too many services', () => {
    const services = Array.from({ length: 500 }, (_, i) => `a-service-with-quite-a-long-name-${i}`)
    const text = encodeStatus({ ...own, services })
    expect(Buffer.byteLength(text)).toBeLessThanOrEqual(4_096)
    const read = parseStatus('pi7', Buffer.from(text))!.services
    expect(read.length).toBeGreaterThan(50)
    expect(read).toEqual(services.slice(0, read.length))
  })

  it('says offline with nothing else, and with what it was', () => {
    expect(parse('{"online":false}')).toEqual({ id: 'pi7', online: false, services: [] })
    const gone = { id: 'pi7', online: false, protocol: 1, ...own, streams: 0 }
    expect(parse(encodeOffline(own))).toEqual(gone)
  })

  it.each([
    ['no JSON', 'online'],
    ['no object', '[]'],
    ['null', 'null'],
    ['no `online`', '{"services":[]}'],
    ['another type of `online`', '{"online":1,"services":[]}'],
    ['online without services', '{"online":true}'],
    ['more than 4,096 bytes', JSON.stringify({ online: true, services: [], x: 'x'.repeat(4_096) })],
  ])('is ignored when it is %s', (_, text) => {
    expect(parse(text)).toBeUndefined()
  })

  it('leaves out members that are not as described, and those that are not known', () => {
    const text = JSON.stringify({
      online: true,
      services: ['ssh', 7, 'a b', '', null, '../x'],
      protocol: 'x',
      version: 1,
      host: {},
      since: 'yesterday',
      streams: -1,
      __proto__x: 1,
    })
    expect(parse(text)).toEqual({ id: 'pi7', online: true, services: ['ssh'] })
  })

  it('shows no control characters, nor marks that turn text around', () => {
    const text = JSON.stringify({
      online: true,
      services: [],
      host: 'a\u001b[2Jb\u009bc\u202ed',
      version: 'x'.repeat(999),
    })
    expect(parse(text)).toMatchObject({ host: 'a?[2Jb?c?d', version: 'x'.repeat(256) })
  })
})
