import { afterEach, describe, it } from 'vitest'
import { startTestBroker, type TestBroker } from '../support/broker.ts'
import { temporaryFolder } from '../support/store-folder.ts'
import { mixedLoad } from './mixed-load.ts'

let broker: TestBroker | undefined
let removeFolder: (() => Promise<void>) | undefined

afterEach(async () => {
  await broker?.stop()
  await removeFolder?.()
  broker = removeFolder = undefined
})

async function start(type: 'memory' | 'embedded'): Promise<TestBroker> {
  if (type === 'memory') return startTestBroker()
  const folder = await temporaryFolder()
  removeFolder = () => folder.remove()
  return startTestBroker({ store: { type, path: folder.path } })
}

describe.each(['memory', 'embedded'] as const)('without a fault, on the %s store', (type) => {
  it('10,000 messages of every QoS reach every subscriber once and in order', async () => {
    broker = await start(type)
    await mixedLoad(`1 (${type})`, [broker.port])
  })
})
