import { describeStore } from '../../support/store-contract.ts'
import { createMemoryStore } from '../../../src/store/memory.ts'

describeStore('memory', async () => ({
  create: (limits, now) => createMemoryStore(limits, now),
  dispose: async () => {},
}))
