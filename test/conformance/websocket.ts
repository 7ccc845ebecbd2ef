import { once } from 'node:events'
import { expect, onTestFinished } from 'vitest'
import { WebSocket } from 'ws'
import { portOf } from '../support/broker-world.ts'
import { connectPacket, pingreq } from '../support/wire.ts'
import { brokerOfFile } from './broker-of-file.ts'

/** What both versions say of WebSocket (6), with a CONNECT of the one. */
export interface WebSocketWorld {
  readonly closesOnText: () => Promise<void>
  readonly takesPartsAndSeveral: () => Promise<void>
  readonly answersMqtt: () => Promise<void>
}

export function webSocketWorld(level: 4 | 5): WebSocketWorld {
  const world = brokerOfFile({
    listeners: [
      { type: 'tcp', port: 0 },
      { name: 'web', type: 'ws', port: 0 },
    ],
  })
  // Without properties, and with an empty client id, both are the same but for a byte.
  const connect = connectPacket({ clientId: '', level })
  const packet =
    level === 4
      ? connect
      : Buffer.concat([
          Buffer.of(0x10, connect.length - 1),
          connect.subarray(2, 12),
          Buffer.of(0),
          connect.subarray(12),
        ])

  async function open(): Promise<WebSocket> {
    const client = new WebSocket(`ws://127.0.0.1:${portOf(world.broker, 'web')}/mqtt`, ['mqtt'])
    onTestFinished(() => client.terminate())
    await once(client, 'open')
    return client
  }

  return {
    async closesOnText() {
      const client = await open()
      const types: boolean[] = []
      client.on('message', (_data, isBinary) => types.push(isBinary))
      client.send(packet)
      await once(client, 'message')
      client.send('text')
      const [code] = (await once(client, 'close')) as [number]
      expect(code).toBe(1003)
      expect(types).not.toContain(false)
    },

    async takesPartsAndSeveral() {
      const client = await open()
      let received = Buffer.alloc(0)
      client.on('message', (data: Buffer) => {
        received = Buffer.concat([received, data])
      })
      const bytes = Buffer.concat([packet, pingreq, pingreq])
      client.send(bytes.subarray(0, 5))
      client.send(bytes.subarray(5, bytes.length - 3))
      client.send(bytes.subarray(bytes.length - 3))
      const answers = Buffer.of(0xd0, 0, 0xd0, 0)
      await expect.poll(() => received.subarray(-4)).toEqual(answers)
      expect(received[0]).toBe(0x20)
    },

    async answersMqtt() {
      expect((await open()).protocol).toBe('mqtt')
    },
  }
}
