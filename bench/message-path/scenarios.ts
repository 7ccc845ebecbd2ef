import type { Build } from './build.ts'
import { End, noProperties, packet, text, turns } from './end.ts'

const TOPIC = 'bench/topic'
const PAYLOAD_BYTES = 100

export interface Scenario {
  readonly name: string
  /** The function runs for some milliseconds, and resolves to the CPU time of each message delivered, us. */
  readonly prepare: (build: Build, version: 4 | 5) => Promise<() => Promise<number>>
}

interface Shape {
  readonly receivers: number
  readonly qos: 0 | 1
  /** Messages that come in one chunk. */
  readonly chunk: number
  readonly chunks: number
}

export const scenarios: readonly Scenario[] = [
  { name: '1 to 1, QoS 0', prepare: preparing({ receivers: 1, qos: 0, chunk: 20, chunks: 250 }) },
  { name: '1 to 1, QoS 1', prepare: preparing({ receivers: 1, qos: 1, chunk: 20, chunks: 250 }) },
  { name: '1 to 100, QoS 0', prepare: preparing({ receivers: 100, qos: 0, chunk: 4, chunks: 25 }) },
  { name: '1 to 100, QoS 1', prepare: preparing({ receivers: 100, qos: 1, chunk: 4, chunks: 25 }) },
]

function preparing({ receivers, qos, chunk, chunks }: Shape): Scenario['prepare'] {
  return async (build, version) => {
    const broker = await build.startBroker()
    const ends: End[] = []
    for (let i = 0; i < receivers; i++) {
      const end = await End.connect(broker, { id: `receiver-${i}`, version, acknowledges: qos > 0 })
      await end.subscribe(version, TOPIC, qos)
      ends.push(end)
    }
    const publisher = await End.connect(broker, { id: 'publisher', version, acknowledges: false })
    const publishes = Buffer.concat(
      Array.from({ length: chunk }, (_, i) =>
        packet(
          0x30 | (qos << 1),
          text(TOPIC),
          qos > 0 ? Buffer.of(0, i + 1) : Buffer.alloc(0),
          noProperties(version),
          Buffer.alloc(PAYLOAD_BYTES, 'x'),
        ),
      ),
    )
    return async () => {
      const before = process.cpuUsage()
      for (let i = 0; i < chunks; i++) {
        publisher.send(publishes)
        await turns(2)
        if (qos > 0) {
          for (const end of ends) end.acknowledge()
          await turns(1)
        }
      }
      const { user, system } = process.cpuUsage(before)
      return (user + system) / (chunks * chunk * receivers)
    }
  }
}
