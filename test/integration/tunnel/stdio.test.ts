import { PassThrough, Readable, Writable } from 'node:stream'
import { finished } from 'node:stream/promises'
import { describe, expect, it, vi } from 'vitest'
import { joinStdio } from '../../../src/tunnel/stdio.ts'
import { PATIENCE } from '../../support/eventually.ts'
import { closeCodeOf, echo, later, openEnds, openTarget, textOf } from '../../support/tunnel-ends.ts'

describe('a stream joined to standard input and output', () => {
  it('carries both ways until both have ended', async () => {
    const { client } = openEnds({ echo: { target: await openTarget(echo) } })
    const input = new PassThrough()
    const output = new PassThrough()
    const joined = joinStdio(await client.openStream('pi7/echo'), { input, output })
    const heard = textOf(output)
    input.end('hello')
    await joined
    expect(await heard).toBe('hello')
  })

  it('closes the output when the target has ended, and still sends what is put in', async () => {
    const heard = later<string>()
    const target = await openTarget((socket) => {
      socket.end('bye')
      void textOf(socket).then(heard.resolve)
    })
    const { client } = openEnds({ early: { target } })
    const input = new PassThrough()
    const output = new PassThrough()
    const closed = later<string>()
    const joined = joinStdio(await client.openStream('pi7/early'), {
      input,
      output,
      closeOutput: () => closed.resolve(String(output.read())),
    })
    expect(await closed.promise).toBe('bye')
    input.end('one more thing')
    await joined
    expect(await heard.promise).toBe('one more thing')
  })

  it('is not over before the output has taken all', async () => {
    const target = await openTarget((socket) => void socket.resume().end('the last words'))
    const { client } = openEnds({ x: { target } })
    const taken: string[] = []
    const asked = later<() => void>()
    const output = new Writable({
      write: (chunk: Buffer, _encoding, done) => {
        if (chunk.length === 0) return done()
        taken.push(chunk.toString())
        asked.resolve(done)
      },
    })
    const stream = await client.openStream('pi7/x')
    let isOver = false
    const joined = joinStdio(stream, {
      input: Readable.from([]),
      output,
      closeOutput: () => taken.push('end'),
    })
    const over = joined.then(() => (isOver = true))
    const take = await asked.promise
    await finished(stream)
    await new Promise((resolve) => setImmediate(resolve))
    expect(isOver).toBe(false)
    take()
    await over
    expect(taken).toEqual(['the last words', 'end'])
  })

  it('does not wait for an output that takes nothing when it is to leave', async () => {
    const target = await openTarget((socket) => void socket.resume().end('the last words'))
    const { client } = openEnds({ x: { target } })
    const asked = later<undefined>()
    const output = new Writable({ write: () => asked.resolve(undefined) })
    const leaving = new AbortController()
    const joined = joinStdio(await client.openStream('pi7/x'), {
      input: Readable.from([]),
      output,
      leave: leaving.signal,
      lingerMs: 20,
    })
    await asked.promise
    leaving.abort()
    await joined
    expect(output.writableFinished).toBe(false)
  })

  it('resets the stream when the reader of the output is gone, which is no error', async () => {
    const atTarget = later<string | undefined>()
    const target = await openTarget((socket) => {
      socket.write('hello')
      void closeCodeOf(socket).then(atTarget.resolve)
    })
    const { client } = openEnds({ x: { target } })
    const output = new Writable({
      write: (_chunk, _encoding, done) => done(Object.assign(new Error('write EPIPE'), { code: 'EPIPE' })),
    })
    await joinStdio(await client.openStream('pi7/x'), {
      input: new PassThrough(),
      output,
      lingerMs: 50,
    })
    expect(await atTarget.promise).toBe('ECONNRESET')
  })

  it('ends in order when it is to leave, behind the last words of the input', async () => {
    const heard = later<string>()
    const target = await openTarget((socket) => {
      void textOf(socket).then((text) => {
        heard.resolve(text)
        socket.end('nobody reads this')
      })
    })
    const { client, agentLog } = openEnds({ x: { target } })
    const input = new PassThrough()
    const output = new PassThrough()
    const leaving = new AbortController()
    const joined = joinStdio(await client.openStream('pi7/x'), { input, output, leave: leaving.signal })
    leaving.abort()
    input.end('last words')
    await joined
    expect(await heard.promise).toBe('last words')
    expect(output.read()).toBeNull()
    await vi.waitFor(
      () =>
        expect(agentLog).toContainEqual(
          expect.objectContaining({ message: 'tunnel stream ended', end: 'closed' }),
        ),
      PATIENCE,
    )
  })

  it('resets the stream when it is to leave and the input does not end', async () => {
    const atTarget = later<string | undefined>()
    const target = await openTarget((socket) => void closeCodeOf(socket).then(atTarget.resolve))
    const { client } = openEnds({ x: { target } })
    const input = new PassThrough()
    input.write('half of it')
    await joinStdio(await client.openStream('pi7/x'), {
      input,
      output: new PassThrough(),
      leave: AbortSignal.abort(),
      lingerMs: 50,
    })
    expect(await atTarget.promise).toBe('ECONNRESET')
  })

  it('tells why the stream was reset', async () => {
    const target = await openTarget((socket) => void socket.once('data', () => socket.resetAndDestroy()))
    const { client } = openEnds({ x: { target } })
    const input = new PassThrough()
    const joined = joinStdio(await client.openStream('pi7/x'), { input, output: new PassThrough() })
    input.write('go')
    await expect(joined).rejects.toMatchObject({ name: 'TunnelError', reset: 'reset' })
  })
})
