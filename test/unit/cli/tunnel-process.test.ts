import { EventEmitter } from 'node:events'
import { expect, it, vi } from 'vitest'
import { untilStopped, type ProcessEvents } from '../../../src/cli/tunnel-process.ts'
import { createSilentLog } from '../../../src/log.ts'
import { PATIENCE } from '../../support/eventually.ts'

function createWorld() {
  const emitter = Object.assign(new EventEmitter(), { exit: vi.fn<(code?: number) => never>() })
  let finish!: () => void
  const stopped = new Promise<void>((resolve) => (finish = resolve))
  const stop = vi.fn<(signal: NodeJS.Signals) => Promise<void>>(() => stopped)
  const log = createSilentLog()
  const ended = untilStopped({ events: emitter as unknown as ProcessEvents, log, stop })
  return { emitter, stop, log, ended, finish }
}

it.each(['SIGTERM', 'SIGINT'])('stops on %s, once, and takes its listeners away', async (signal) => {
  const { emitter, stop, ended, finish } = createWorld()
  emitter.emit(signal, signal)
  await vi.waitFor(() => expect(stop).toHaveBeenCalledExactlyOnceWith(signal), PATIENCE)
  finish()
  await ended
  expect(emitter.exit).not.toHaveBeenCalled()
  expect(emitter.eventNames()).toEqual([])
})

it('exits at once with 1 on a second signal', async () => {
  const { emitter, stop } = createWorld()
  emitter.emit('SIGINT', 'SIGINT')
  emitter.emit('SIGTERM', 'SIGTERM')
  await vi.waitFor(() => expect(emitter.exit).toHaveBeenCalledWith(1), PATIENCE)
  expect(stop).toHaveBeenCalledOnce()
})

it('logs a rejection that nobody awaited, and goes on', async () => {
  const { emitter, log, stop, ended, finish } = createWorld()
  const error = vi.spyOn(log, 'error')
  emitter.emit('unhandledRejection', new Error('forgotten'))
  expect(error).toHaveBeenCalledOnce()
  expect(stop).not.toHaveBeenCalled()
  emitter.emit('SIGTERM', 'SIGTERM')
  finish()
  await ended
})

it('does not touch SIGHUP unless it is asked to', async () => {
  const { emitter, ended, finish } = createWorld()
  expect(emitter.listenerCount('SIGHUP')).toBe(0)
  emitter.emit('SIGTERM', 'SIGTERM')
  finish()
  await ended
})
