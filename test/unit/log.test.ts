import { Writable } from 'node:stream'
import { describe, expect, it } from 'vitest'
import { createLog, createSilentLog, flushLog, resolveLogFormat } from '../../src/log.ts'

function createSink(): { stream: Writable; text: () => string } {
  let text = ''
  const stream = new Writable({
    write: (chunk: Buffer, _encoding, done) => {
      text += chunk.toString()
      done()
    },
  })
  return { stream, text: () => text }
}

describe('the log', () => {
  it('writes one JSON object an event, with the fields of its child loggers', () => {
    const { stream, text } = createSink()
    const log = createLog({ level: 'info', format: 'json' }, stream)
    log.child({ client: 'c1' }).info({ bytes: 3 }, 'stream closed')
    log.debug('unseen')
    const event = JSON.parse(text()) as Record<string, unknown>
    expect(event).toMatchObject({ level: 'info', client: 'c1', bytes: 3, msg: 'stream closed' })
    expect(Date.parse(String(event['time']))).not.toBeNaN()
    expect(log.isLevelEnabled('debug')).toBe(false)
  })

  it('shows no secret of an object that is logged whole', () => {
    const { stream, text } = createSink()
    const log = createLog({ level: 'info', format: 'json' }, stream)
    log.info(
      { password: 's3cret', session: { password: 's3cret' }, a: { tls: { passphrase: 's3cret' } } },
      'x',
    )
    expect(text()).toContain('[secret]')
    expect(text()).not.toContain('s3cret')
  })

  it('is for people when it is pretty', async () => {
    const { stream, text } = createSink()
    const log = createLog({ level: 'info', format: 'pretty' }, stream)
    log.info({ bytes: 3 }, 'stream closed')
    await flushLog(log)
    expect(text()).toMatch(/INFO: stream closed\n {4}bytes: 3/)
  })

  it('is pretty by itself on a terminal only', () => {
    expect(resolveLogFormat('auto', true)).toBe('pretty')
    expect(resolveLogFormat('auto', false)).toBe('json')
    expect(resolveLogFormat('json', true)).toBe('json')
  })

  it('can be silent', async () => {
    const log = createSilentLog()
    expect(log.isLevelEnabled('fatal')).toBe(false)
    await flushLog(log)
  })
})
