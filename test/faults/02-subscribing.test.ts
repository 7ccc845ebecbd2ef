import { afterEach, describe, expect, it } from 'vitest'
import { startTestBroker, type TestBroker } from '../support/broker.ts'
import { LoadClient } from '../support/load-client.ts'
import { temporaryFolder } from '../support/store-folder.ts'
import type { Filter } from '../support/wire.ts'
import { eventually, missing, repeated, report, texts } from './ledger.ts'

let broker: TestBroker
let removeFolder: (() => Promise<void>) | undefined

afterEach(async () => {
  await broker.stop()
  await removeFolder?.()
  removeFolder = undefined
})

const cases = (['memory', 'embedded'] as const).flatMap((store) =>
  [true, false].flatMap((clean) => [1, 2, 50].map((count) => ({ store, clean, count }))),
)

describe('SUBSCRIBE', () => {
  it.each(cases)(
    'with $count filters, twice at once, is answered twice with the right codes ($store, clean session $clean)',
    async ({ store, clean, count }) => {
      const folder = await temporaryFolder()
      removeFolder = () => folder.remove()
      broker = await startTestBroker({ store: { type: store, path: folder.path } })
      const { port } = broker
      const filters = Array.from({ length: count }, (_, i): Filter => [`a/${i}/+`, i % 3])
      const codes = filters.map(([, qos]) => qos)
      const subscriber = new LoadClient({ port, clientId: 'subscriber', clean })
      await subscriber.connect()
      expect(await subscriber.subscribe(...filters)).toEqual(codes)
      expect(await Promise.all([subscriber.subscribe(...filters), subscriber.subscribe(...filters)])).toEqual(
        [codes, codes],
      )

      const publisher = new LoadClient({ port, clientId: 'publisher' })
      await publisher.connect()
      await Promise.all(
        codes.map((_, i) => publisher.publish({ topic: `a/${i}/x`, payload: `p ${i}`, qos: 2 })),
      )
      await eventually(() => subscriber.received.length >= count)
      await subscriber.ping()
      expect(missing(publisher.acknowledged, texts(subscriber.received))).toEqual([])
      expect(repeated(subscriber.received)).toEqual([])
      const granted = new Map(codes.map((qos, i) => [`p ${i}`, qos]))
      expect(new Map(subscriber.received.map((came) => [came.payload.toString(), came.qos]))).toEqual(granted)
      report(
        `2 (${store}, ${count} filters)`,
        publisher.acknowledged.size,
        `${subscriber.received.length} delivered`,
      )
      await Promise.all([subscriber.disconnect(), publisher.disconnect()])
    },
  )
})
