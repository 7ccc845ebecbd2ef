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

/** Colours, a C1 control, DEL, right-to-left, a line separator. */
const deceptiveName = 'a\u001b[31m\u009b31m\u007f\u202eb\u2028'

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

  it('takes another level, and so do the child loggers that are there', () => {
    const { stream, text } = createSink()
    const log = createLog({ level: 'info', format: 'json' }, stream)
    const child = log.child({ client: 'c1' })
    const grandchild = child.child({ stream: 7 })
    log.level = 'debug'
    for (const one of [child, grandchild]) one.debug('seen')
    expect(grandchild.isLevelEnabled('debug')).toBe(true)
    log.level = 'silent'
    for (const one of [log, child, grandchild]) one.error('unseen')
    expect(text().match(/"msg":"seen"/g)).toHaveLength(2)
    expect(text()).not.toContain('unseen')
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

  it.each(['json', 'pretty'] as const)(
    'shows a terminal nothing that it would obey, whatever a client calls itself (%s)',
    async (format) => {
      const { stream, text } = createSink()
      const log = createLog({ level: 'info', format }, stream)
      log.info({ client: deceptiveName, err: new Error(`no user ${deceptiveName}`) }, 'x')
      await flushLog(log)
      expect(text()).toContain('no user')
      // oxlint-disable-next-line no-control-regex -- that is what must not be there
      expect(text()).not.toMatch(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u2028\u202e]/)
    },
  )

  it('changes no name by escaping it in JSON', () => {
    const { stream, text } = createSink()
    createLog({ level: 'info', format: 'json' }, stream).info({ client: deceptiveName }, 'x')
    expect(JSON.parse(text())).toMatchObject({ client: deceptiveName })
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
