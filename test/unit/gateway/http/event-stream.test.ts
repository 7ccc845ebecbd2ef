import { IncomingMessage, ServerResponse } from 'node:http'
import { Socket } from 'node:net'
import { expect, it } from 'vitest'
import { DoorError } from '../../../../src/broker/door/contract.ts'
import { EventStream } from '../../../../src/gateway/http/event-stream.ts'

it('is no stream when its filter is taken away before it has begun', () => {
  const response = new ServerResponse(new IncomingMessage(new Socket()))
  const stream = new EventStream(response, () => undefined)
  stream.end(new DoorError('gone', 'rights were taken away'))
  expect(() => stream.begin()).toThrow('rights were taken away')
  expect(response.headersSent).toBe(false)
})
