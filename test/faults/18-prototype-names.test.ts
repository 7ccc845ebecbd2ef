import { afterEach, describe, expect, it } from 'vitest'
import { startTestBroker, type TestBroker } from '../support/broker.ts'
import { prototypeNames } from '../support/illegal-strings.ts'
import { LoadClient } from '../support/load-client.ts'
import { temporaryFolder } from '../support/store-folder.ts'
import { eventually, report } from './ledger.ts'

let broker: TestBroker
let removeFolder: () => Promise<void>

afterEach(async () => {
  await broker.stop()
  await removeFolder()
})

/** Topic and payload of what came, each once, in no particular order. */
function cameTo(client: LoadClient): string[] {
  return [...new Set(client.received.map(({ topic, payload }) => `${topic} ${payload.toString()}`))].sort()
}

describe.each(['memory', 'embedded'] as const)(
  'names of Object.prototype in every string field (%s)',
  (type) => {
    it.each(prototypeNames)('%s is a name like any other', async (name) => {
      const folder = await temporaryFolder()
      removeFolder = () => folder.remove()
      const everyone = { name, authConnect: () => undefined }
      broker = await startTestBroker({ store: { type, path: folder.path } }, { handlers: [everyone] })
      const { port } = broker
      const will = { topic: `${name}/will`, payload: name, qos: 1 }
      const named = new LoadClient({
        port,
        clientId: name,
        clean: false,
        username: name,
        password: name,
        will,
      })
      const other = new LoadClient({ port, clientId: 'other', username: 'other' })
      await other.connect()
      await other.subscribe([`${name}/#`, 2])
      expect(await named.connect()).toEqual({ code: 0, sessionPresent: false })
      expect(
        await named.subscribe([name, 1], [`$share/${name}/shared/${name}`, 1], [`${name}/+`, 0]),
      ).toEqual([1, 1, 0])
      await named.vanish()
      await other.publish({ topic: name, payload: 'kept 1', qos: 2, retain: true })
      await other.publish({ topic: `shared/${name}`, payload: 'shared 1', qos: 1 })
      expect(await named.connect()).toEqual({ code: 0, sessionPresent: true })
      await other.publish({ topic: `${name}/${name}`, payload: 'live 1', qos: 0 })
      await eventually(() => named.received.length >= 3)
      await eventually(() => other.received.length >= 3)
      await Promise.all([named.ping(), other.ping()])
      expect(cameTo(named)).toEqual(
        [`${name} kept 1`, `${name}/${name} live 1`, `shared/${name} shared 1`].sort(),
      )
      expect(cameTo(other)).toEqual(
        [`${name} kept 1`, `${name}/${name} live 1`, `${name}/will ${name}`].sort(),
      )
      await named.unsubscribe(name, `${name}/+`)
      await other.publish({ topic: name, payload: 'gone 1', qos: 1 })
      await named.ping()
      expect(named.received).toHaveLength(3)
      report(
        `18 (${type}, ${name})`,
        other.acknowledged.size,
        `${named.received.length + other.received.length} delivered`,
      )
      await Promise.all([named.disconnect(), other.disconnect()])
    })
  },
)
