import { afterAll, beforeAll } from 'vitest'
import { AuthError, RefuseReason, type Handler } from '../../src/hooks/types.ts'
import { startTestBroker, type TestBroker } from '../support/broker.ts'

/** More than those clients take that say that they take little. */
const TEXT = 'a reason in so many words that it does not fit into a packet of sixty bytes'
const told = { reasonString: TEXT }

/**
 * Lets in, publish and subscribe, but for those named `refused` and topics under `no/`; cannot decide on topics under
 * `undecided/`. With the method `rounds` it asks for more until the client says `good` or `bad`.
 */
const rules: Handler = {
  name: 'rules',
  authMethods: ['rounds'],
  authConnect(session) {
    if (session.username === 'refused')
      throw new AuthError('no', RefuseReason.badCredentials, { ...told, userProperties: [['why', TEXT]] })
    if (session.username === 'greeted') session.connackProperties?.push(['hello', TEXT])
  },
  authenticate(_session, _exchange, data) {
    const said = data?.toString()
    if (said === 'bad') {
      throw new AuthError('no', RefuseReason.notAuthorized, { ...told, userProperties: [['why', TEXT]] })
    }
    return said === 'good' ? { success: Buffer.from('welcome') } : { continue: Buffer.from('more') }
  },
  authPublish(_session, { topic }) {
    if (topic.startsWith('no/')) throw new AuthError('not this topic', RefuseReason.notAuthorized, told)
    if (topic.startsWith('undecided/')) throw new AuthError('not now', RefuseReason.unavailable)
  },
  authSubscribe(_session, subscriptions) {
    if (subscriptions.some(({ topic }) => topic.startsWith('no/told')))
      throw new AuthError('not these filters', RefuseReason.notAuthorized, told)
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
