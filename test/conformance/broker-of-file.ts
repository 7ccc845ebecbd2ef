import { afterAll, beforeAll } from 'vitest'
import { AuthError, RefuseReason, type Handler } from '../../src/hooks/types.ts'
import { startTestBroker, type TestBroker } from '../support/broker.ts'

/** Lets in, publish and subscribe, but for those named `refused` and topics under `no/`; has an error with those under `broken/`. */
const rules: Handler = {
  name: 'rules',
  authConnect({ username }) {
    if (username === 'refused') throw new AuthError('no', RefuseReason.badCredentials)
  },
  authPublish(_session, { topic }) {
    if (topic.startsWith('no/')) throw new AuthError('not this topic')
    if (topic.startsWith('broken/')) throw new Error('the handler is broken')
  },
  authSubscribe(_session, subscriptions) {
    for (const one of subscriptions) if (one.topic.startsWith('no/')) one.refused = 'not this filter'
  },
}

/** One broker for all tests of a file. */
export function brokerOfFile(overrides: Parameters<typeof startTestBroker>[0] = {}): {
  readonly port: number
  readonly broker: TestBroker
} {
  let broker: TestBroker | undefined
  beforeAll(async () => {
    const limits = { banFailures: 0, ...overrides.limits }
    broker = await startTestBroker({ ...overrides, limits }, { handlers: [rules] })
  })
  afterAll(() => broker?.stop())
  const running = (): TestBroker => {
    if (broker === undefined) throw new Error('the broker of this file has not started')
    return broker
  }
  return {
    get port() {
      return running().port
    },
    get broker() {
      return running()
    },
  }
}
