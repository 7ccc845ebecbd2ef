import type { RedisConfig } from '../../config/cluster-schema.ts'
import { Connection } from './connection.ts'
import type { RedisServer } from './server-check.ts'

/**
 * Each for one use, as Redis answers a connection in order: a read that blocks, a WAIT, or a flood of messages keeps
 * nobody else waiting.
 */
const names = ['reads', 'writes', 'follow', 'bulk-out', 'bulk-in', 'prompt-out', 'prompt-in'] as const
/** Of lanes. Redis ends those that it cannot send to fast enough (client-output-buffer-limit pubsub). */
const pubSubNames = ['bulk-out', 'bulk-in', 'prompt-out', 'prompt-in'] as const
export type ConnectionName = (typeof names)[number]

export interface ConnectionsEvents {
  up(name: ConnectionName): void
  down(name: ConnectionName, reason: string): void
  failed(error: Error): void
  /** What is up now is at another run of the server than before, or at another server. */
  serverChanged(): void
  message(name: ConnectionName, channel: Buffer, message: Buffer): void
}

/** The connections of a pod. They count as one: all are at the same run of one server, or are made anew. */
export class Connections {
  readonly #byName: Readonly<Record<ConnectionName, Connection>>
  readonly #servers = new Map<Connection, RedisServer>()
  readonly #events: ConnectionsEvents
  #server: RedisServer | undefined

  constructor(config: RedisConfig, events: ConnectionsEvents) {
    this.#events = events
    const create = (name: ConnectionName): Connection => {
      const connection: Connection = new Connection(name, config, {
        up: (server) => this.#up(name, connection, server),
        down: (reason) => {
          this.#servers.delete(connection)
          events.down(name, reason)
        },
        failed: (error) => events.failed(error),
        silent: () => this.dropAll('Redis does not answer'),
        message: (channel, message) => events.message(name, channel, message),
      })
      return connection
    }
    this.#byName = {
      reads: create('reads'),
      writes: create('writes'),
      follow: create('follow'),
      'bulk-out': create('bulk-out'),
      'bulk-in': create('bulk-in'),
      'prompt-out': create('prompt-out'),
      'prompt-in': create('prompt-in'),
    }
  }

  get(name: ConnectionName): Connection {
    return this.#byName[name]
  }

  /** The one that was seen last. */
  get server(): RedisServer | undefined {
    return this.#server
  }

  /** Of the first that is not up. */
  get failure(): string | undefined {
    return this.#all().find((connection) => connection.failure !== undefined)?.failure
  }

  open(): void {
    for (const connection of this.#all()) connection.open()
  }

  close(): void {
    for (const connection of this.#all()) connection.close()
  }

  dropAll(reason: string): void {
    for (const connection of this.#all()) connection.drop(reason)
  }

  /** Those that are silent by nature: that nobody listens any more is only seen when something is asked. */
  probe(): void {
    for (const name of pubSubNames) {
      const connection = this.#byName[name]
      // What comes of it is told by `down`.
      if (connection.isUp) connection.send('ping', []).catch(() => undefined)
    }
  }

  #all(): readonly Connection[] {
    return names.map((name) => this.#byName[name])
  }

  #up(name: ConnectionName, connection: Connection, server: RedisServer): void {
    const isOther = this.#server !== undefined && this.#server.runId !== server.runId
    this.#server = server
    this.#servers.set(connection, server)
    if (isOther) {
      for (const [other, { runId }] of [...this.#servers])
        if (runId !== server.runId) other.drop('Another server is the primary now')
      this.#events.serverChanged()
    }
    this.#events.up(name)
  }
}
