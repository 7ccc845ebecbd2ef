/** TunnelMQ as a library: tunnels from your program, without the broker. See docs/library.md. */
import type { TunnelStream } from './endpoint/tunnel-stream.ts'
import type { OpenOptions } from './client.ts'
import { createTunnelClient, type TunnelClientOptions } from './connect.ts'
import type { Forward, ForwardOptions } from './forward.ts'

export { createAgent, createTunnelClient } from './connect.ts'
export type { AgentOptions, BrokerOptions, TunnelClientOptions } from './connect.ts'
export type { Agent, AgentCloseOptions, AgentService, AgentSettings } from './agent.ts'
export type { ClientSettings, OpenOptions, TunnelClient } from './client.ts'
export type { AgentListener } from './directory.ts'
export type { TunnelStream } from './endpoint/tunnel-stream.ts'
export type { Forward, ForwardOptions } from './forward.ts'
export type { AttemptFailure, LinkTlsOptions } from './link/options.ts'
export type { TunnelLog } from './log.ts'
export type { OpenSource } from './protocol/open-payload.ts'
export type { ResetName } from './protocol/reset-code.ts'
export type { StreamsLimits } from './protocol/streams.ts'
export type { AgentInfo } from './status.ts'
export { TunnelError } from './tunnel-error.ts'
export { ErrorCode, TunnelMQError } from '../errors.ts'

/**
 * One stream, with a connection to the broker of its own that is closed with it. A program that opens several shares
 * a client: {@link createTunnelClient}.
 */
export async function openStream(
  to: string,
  options: TunnelClientOptions & OpenOptions,
): Promise<TunnelStream> {
  const client = createTunnelClient(options)
  try {
    const stream = await client.openStream(to, options)
    stream.once('close', () => void client.close())
    return stream
  } catch (error) {
    await client.close()
    throw error
  }
}

/** One forward, with a connection to the broker of its own that is closed with it. */
export async function forward(options: TunnelClientOptions & ForwardOptions): Promise<Forward> {
  const client = createTunnelClient(options)
  try {
    const opened = await client.forward(options)
    // The client closes its forwards.
    return Object.create(opened, { close: { value: () => client.close() } }) as Forward
  } catch (error) {
    await client.close()
    throw error
  }
}
