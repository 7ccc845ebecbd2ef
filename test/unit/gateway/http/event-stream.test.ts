import { createServer, get, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { expect, it, onTestFinished } from 'vitest'
import type { DoorClient, DoorMessage } from '../../../../src/broker/door/contract.ts'
import { EventStream } from '../../../../src/gateway/http/event-stream.ts'
import { eventually } from '../../../support/eventually.ts'

interface OpenedStream {
  readonly stream: EventStream
  /** What it asks of its client. */
  readonly said: string[]
  readonly response: IncomingMessage
  readonly answer: ServerResponse
}

/** A stream over a real connection. */
async function openStream(): Promise<OpenedStream> {
  const said: string[] = []
  const client = { hold: () => said.push('hold'), flow: () => said.push('flow') }
  const server = createServer()
  onTestFinished(() => {
    server.close()
    server.closeAllConnections()
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  const answered = new Promise<ServerResponse>((resolve) =>
    server.once('request', (_, made) => resolve(made)),
  )
  const asked = new Promise<IncomingMessage>((resolve) => get({ port, host: '127.0.0.1' }, resolve))
  const answer = await answered
  const stream = new EventStream(answer, () => client as unknown as DoorClient)
  stream.begin()
  return { stream, said, response: await asked, answer }
}

const message = (bytes: number): DoorMessage => ({
  topic: 'a',
  payload: Buffer.alloc(bytes, 'x'),
  qos: 1,
  retain: false,
})

it('a reader that takes nothing holds the client, and what it has not taken is not acknowledged', async () => {
  const { stream, said, response, answer } = await openStream()
  let takenCount = 0
  // More than the buffers of the system take.
  const count = 200
  for (let i = 0; i < count; i++) stream.message(message(100_000), () => takenCount++)
  expect(said).toEqual(['hold'])
  await eventually(() => answer.writableLength).toBeGreaterThan(0)
  expect(takenCount).toBeLessThan(count)
  response.resume()
  await eventually(() => takenCount).toBe(count)
  await eventually(() => said).toEqual(['hold', 'flow'])
})
