import type { FrameHeader } from '../protocol/frame.ts'
import type { Route } from '../protocol/names.ts'

/** What a link tells its endpoint. */
export interface LinkEvents {
  /** Connected and subscribed: frames may be sent. */
  up(): void
  /** The connection is gone; the link tries again by itself. Only after `up`. */
  down(reason: string): void
  /** A frame for this end. The buffer may be kept. */
  frame(route: Route, frame: Buffer): void
  /** `send` takes frames again, after it has returned false. */
  room(): void
  /** The status of an agent that is watched; undefined: removed. */
  status(agent: string, payload: Buffer | undefined): void
}

/**
 * The way of frames to the other end: over an MQTT connection, or directly inside the broker.
 * It connects again by itself, until it is closed.
 */
export interface Link {
  /** This end's name: its MQTT client id. */
  readonly name: string
  readonly isUp: boolean
  /**
   * It leads over a broker that knows the protocol, and so answers an OPEN to an agent that is away (9.4). Of others the
   * agent's status is all that tells of it, which comes a moment behind the agent.
   */
  readonly isAnswered: boolean
  /** Once, before anything else. */
  attach(events: LinkEvents): void
  /** The Route object of a client, service and agent; the same one that `frame` gives. */
  route(agent: string, service: string, client: string): Route
  /** `header` is read during the call; `payload` is kept and must not change. False: not taken, `room` follows. */
  send(route: Route, header: FrameHeader, payload: Buffer | undefined): boolean
  /** Agent: the retained status, now and after each connect. */
  publishStatus(status: string): void
  /** Of one agent, or `+`: all; told through `status`, beginning with what is retained. */
  watchStatus(agent: string): void
  /** Resolves when all that is retained for the watched ones has been told; rejects when that is not allowed, or after the time. */
  statusComplete(timeoutMs: number): Promise<void>
  /** Sends what waits (bounded by `graceMs`), says good-bye, and ends. */
  close(graceMs?: number): Promise<void>
}
