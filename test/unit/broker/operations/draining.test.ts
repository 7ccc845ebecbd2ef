import { expect, it } from 'vitest'
import { Draining } from '../../../../src/broker/operations/draining.ts'
import { createSilentLog } from '../../../../src/log.ts'

it('begins to send nobody away when the broker is told to stop while its doors are being closed', async () => {
  const notReady = new Set<string>()
  const spreads: number[] = []
  const broker = {
    clientCount: 0,
    drain: (spreadMs: number) => Promise.resolve(void spreads.push(spreadMs)),
    drained() {},
  }
  const door = {
    stopAccepting() {
      // As main.ts does it.
      notReady.add('stopping')
      draining.stop()
      return Promise.resolve()
    },
    acceptAgain: () => Promise.resolve(),
  }
  const draining: Draining = new Draining({ broker, doors: [door], notReady, log: createSilentLog() })
  await expect(draining.drain(3_600_000)).rejects.toMatchObject({ code: 'TMQ_STOPPED' })
  expect(spreads).toEqual([])
})
