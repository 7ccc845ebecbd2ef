import { once } from 'node:events'
import { createServer, type AddressInfo, type Server } from 'node:net'
import { connectAsync } from 'mqtt'
import { expect, it, onTestFinished } from 'vitest'
import { createAgent } from '../../../src/tunnel/index.ts'
import { encodeFrame, FrameType } from '../../../src/tunnel/protocol/frame.ts'
import { encodeOpen } from '../../../src/tunnel/protocol/open-payload.ts'
import { startMosquitto } from '../../support/mosquitto.ts'

/** A broker that knows nothing of tunnels keeps what is published with RETAIN, and gives it to each new subscriber. */
it('opens nothing for an OPEN that another broker has retained', async () => {
  const broker = await startMosquitto()
  const dialled: string[] = []
  const target = async (name: string): Promise<Server> => {
    const server = createServer((socket) => {
      dialled.push(name)
      socket.destroy()
    }).listen(0, '127.0.0.1')
    await once(server, 'listening')
    onTestFinished(() => void server.close())
    return server
  }
  const [old, live] = [await target('old'), await target('live')]
  const at = (server: Server) => ({ target: `127.0.0.1:${(server.address() as AddressInfo).port}` })

  const client = await connectAsync(`mqtt://127.0.0.1:${broker.port}`, { clientId: 'laptop' })
  onTestFinished(() => client.endAsync(true))
  const open = (stream: number) =>
    encodeFrame(
      { type: FrameType.open, flags: 0, stream, offset: 0, acked: 0, limit: 65_536 },
      encodeOpen({ token: '00000000000000ff' }),
    )
  await client.publishAsync('tunnel/pi7/old/laptop/up', open(1), { retain: true, qos: 1 })

  const agent = createAgent({
    url: `mqtt://127.0.0.1:${broker.port}`,
    topicPrefix: 'tunnel',
    id: 'pi7',
    services: { old: at(old), live: at(live) },
  })
  onTestFinished(() => agent.close())
  await agent.connected()
  const connection = once(live, 'connection')
  // Behind what was retained: when this one is dialled, the other has been looked at.
  await client.publishAsync('tunnel/pi7/live/laptop/up', open(2), { qos: 1 })
  await connection
  expect(dialled).toEqual(['live'])
})
