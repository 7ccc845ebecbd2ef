import { EventEmitter } from 'node:events'
import { describe, expect, it, vi } from 'vitest'
import { runUntilStopped } from '../../../src/cli/process-events.ts'
import { createSilentLog } from '../../../src/log.ts'
import { PATIENCE } from '../../support/eventually.ts'

function createWorld() {
  const events = Object.assign(new EventEmitter(), { exit: vi.fn<(code?: number) => never>() })
  let finish: () => void = () => undefined
  const closed = new Promise<void>((resolve) => {
    finish = resolve
  })
  const broker = {
    closed,
    noteUnhandledError: vi.fn(),
    stop: vi.fn<(reason?: string) => Promise<void>>(() => Promise.resolve()),
    reload: vi.fn<() => Promise<void>>(() => Promise.resolve()),
  }
  const exitCode = runUntilStopped({
    broker,
    log: createSilentLog(),
    events: events as unknown as Pick<NodeJS.Process, 'on' | 'off' | 'exit'>,
  })
  return { events, broker, finish, exitCode }
}

describe('the events of the process', () => {
  it.each(['SIGTERM', 'SIGINT'])(
    'stop the broker on %s, and end with 0 when it has stopped',
    async (signal) => {
      const { events, broker, finish, exitCode } = createWorld()
      events.emit(signal, signal)
      expect(broker.stop).toHaveBeenCalledExactlyOnceWith(signal)
      finish()
      expect(await exitCode).toBe(0)
      expect(events.eventNames()).toEqual([])
    },
  )

  it('end at once with 1 on a second signal', async () => {
    const { events, broker } = createWorld()
    events.emit('SIGTERM', 'SIGTERM')
    events.emit('SIGINT', 'SIGINT')
    await vi.waitFor(() => expect(events.exit).toHaveBeenCalledWith(1), PATIENCE)
    expect(broker.stop).toHaveBeenCalledOnce()
  })

  it('reload on SIGHUP, and go on when that fails', async () => {
    const { events, broker, finish, exitCode } = createWorld()
    broker.reload.mockRejectedValueOnce(new Error('line 3'))
    events.emit('SIGHUP')
    events.emit('SIGHUP')
    expect(broker.reload).toHaveBeenCalledTimes(2)
    finish()
    expect(await exitCode).toBe(0)
  })

  it('keep running after a rejection that nobody handled', async () => {
    const { events, broker, finish, exitCode } = createWorld()
    events.emit('unhandledRejection', new Error('forgotten'))
    expect(broker.stop).not.toHaveBeenCalled()
    finish()
    expect(await exitCode).toBe(0)
  })

  it('stop once after an exception that nobody caught, and end with 1', async () => {
    const { events, broker, finish, exitCode } = createWorld()
    events.emit('uncaughtException', new Error('first'))
    events.emit('uncaughtException', new Error('second'))
    expect(broker.stop).toHaveBeenCalledExactlyOnceWith('uncaught exception')
    finish()
    expect(await exitCode).toBe(1)
  })
})
