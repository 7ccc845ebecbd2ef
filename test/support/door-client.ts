import { onTestFinished } from 'vitest'
import { createDoor } from '../../src/broker/door/client.ts'
import type { DoorClient, DoorClientOptions, DoorError, DoorMessage } from '../../src/broker/door/contract.ts'
import type { InspectedBroker } from './inspected-broker.ts'

export interface OpenedDoorClient {
  readonly client: DoorClient
  readonly got: DoorMessage[]
  /** Acknowledgements that the client still owes. */
  readonly owed: (() => void)[]
  readonly closed: Promise<DoorError>
}

/** A door client of this broker, which takes what comes at once unless `keepsOwing`. */
export async function openDoorClient(
  { broker, profile, config }: InspectedBroker,
  options: Partial<DoorClientOptions> & { readonly keepsOwing?: boolean } = {},
): Promise<OpenedDoorClient> {
  const door = createDoor({
    broker,
    topics: { maxBytes: config.limits.maxTopicBytes, maxLevels: config.limits.maxTopicLevels },
    maxPacketBytes: config.limits.maxPacketBytes,
    maxPropertyBytes: config.mqtt5.maxPropertyBytes,
  })
  const got: DoorMessage[] = []
  const owed: (() => void)[] = []
  const { promise: closed, resolve } = withResolvers<DoorError>()
  const address = '192.0.2.7'
  const client = await door(
    {
      door: 'test',
      profile,
      peer: {
        address,
        port: 5,
        addressSource: 'socket',
        socketAddress: address,
        listener: profile.name,
        transport: 'tcp',
      },
      ...options,
    },
    {
      message(message, taken) {
        got.push(message)
        if (options.keepsOwing === true) owed.push(taken)
        else taken()
      },
      revoked: () => undefined,
      closed: resolve,
    },
  )
  onTestFinished(() => client.close())
  return { client, got, owed, closed }
}

function withResolvers<T>(): { promise: Promise<T>; resolve: (value: T) => void } {
  let resolve!: (value: T) => void
  const promise = new Promise<T>((settle) => (resolve = settle))
  return { promise, resolve }
}
