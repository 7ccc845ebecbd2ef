import { Redis } from 'ioredis'
import type { RedisConfig } from '../../config/cluster-schema.ts'
import { withinTimer } from '../../timer.ts'
import type { ScriptArgument, ScriptReply } from './contract.ts'
import { redisOptions, parseRedisAddress } from './options.ts'
import { reasonOf, Refusal, unavailable } from './refusal.ts'
import { checkServer, type RedisServer } from './server-check.ts'
import { WireCommand } from './wire-command.ts'

/** Between attempts: at first, and at most. */
const RETRY_MS = { first: 50, most: 500 } as const
/** How often it is looked whether an answer is overdue. */
const WATCH_MS = 100

const LOST = 'The connection to Redis was lost'

export interface ConnectionEvents {
  /** It answers, and the server is fit. What is sent within this call goes first. */
  up(server: RedisServer): void
  /** Once for each `up`. */
  down(reason: string): void
  /** An attempt has failed; the next follows by itself. */
  failed(error: Error): void
  /** A command was not answered in time: Redis is frozen, or the network swallows packets. It is down already. */
  silent(): void
  /** On a channel that was subscribed to with `send`. */
  message?(channel: Buffer, message: Buffer): void
}

interface Pending {
  readonly sentAtMs: number
  readonly timeoutMs: number
  readonly reject: (error: Error) => void
}

/**
 * One connection to Redis, made anew for ever. Each attempt is an ioredis client of its own: nothing of an old one can
 * come back to life.
 *
 *   idle ──open──▶ connecting ──AUTH, SELECT, INFO are fine──▶ up ──closed, or an answer is overdue──▶ waiting
 *                      ▲──────────────────────── 50 to 500 ms ◀──────────── failed ◀──────────────────────┘
 *   close ends it from anywhere.
 */
export class Connection {
  readonly name: string
  readonly #config: RedisConfig
  readonly #events: ConnectionEvents
  readonly #pending = new Set<Pending>()
  #client: Redis | undefined
  #isUp = false
  #isOpen = false
  #attempts = 0
  #failure: string | undefined = 'Redis is not connected yet'
  #retryTimer: NodeJS.Timeout | undefined
  #watchTimer: NodeJS.Timeout | undefined
  /** Bytes that this client has received, and when that was seen to grow. */
  #received = 0
  #lifeAtMs = 0

  constructor(name: string, config: RedisConfig, events: ConnectionEvents) {
    this.name = name
    this.#config = config
    this.#events = events
  }

  get isUp(): boolean {
    return this.#isUp
  }

  /** Undefined: up. */
  get failure(): string | undefined {
    return this.#failure
  }

  open(): void {
    this.#isOpen = true
    this.#attempt()
  }

  close(): void {
    this.#isOpen = false
    clearTimeout(this.#retryTimer)
    this.#lose('The connection to Redis is closed')
  }

  /** Ends what there is, and connects anew. */
  drop(reason: string): void {
    if (this.#client === undefined) return
    this.#lose(reason)
    this.#retry()
  }

  /**
   * Rejects with {@link Refusal} for an error reply, and with TMQ_STORE_UNAVAILABLE when nothing at all
   * comes for `commandTimeoutMs` and `blockMs`, for as long as which Redis may wait by itself. Bulk strings come as
   * bytes.
   */
  send(name: string, args: readonly ScriptArgument[], blockMs = 0): Promise<ScriptReply> {
    if (!this.#isUp || this.#client === undefined)
      return Promise.reject(unavailable(this.#failure ?? 'Redis is not connected'))
    return this.#send(this.#client, name, args, this.#config.commandTimeoutMs + blockMs)
  }

  #send(
    client: Redis,
    name: string,
    args: readonly ScriptArgument[],
    timeoutMs: number,
  ): Promise<ScriptReply> {
    return new Promise((resolve, reject) => {
      const pending: Pending = { sentAtMs: performance.now(), timeoutMs, reject }
      this.#pending.add(pending)
      this.#watch()
      const answer = client.sendCommand(new WireCommand(name, args)) as Promise<ScriptReply>
      answer.then(
        (reply) => {
          this.#pending.delete(pending)
          resolve(reply)
        },
        (error: unknown) => {
          this.#pending.delete(pending)
          reject(refusalOf(error) ?? unavailable(this.#failure ?? LOST, error))
        },
      )
    })
  }

  #attempt(): void {
    let client: Redis
    try {
      client = new Redis(redisOptions(this.#config))
    } catch (error) {
      this.#failedAttempt(asError(error))
      return
    }
    this.#client = client
    let lastError: Error | undefined
    // ioredis says here what ends a connection; without a listener it would print it.
    client.on('error', (error: Error) => (lastError = error))
    client.on('messageBuffer', (channel, message) => this.#events.message?.(channel, message))
    const fail = (error: Error): void => {
      if (this.#client !== client || this.#isUp) return
      this.#client = undefined
      discard(client)
      this.#failPending('Redis is not connected')
      this.#failedAttempt(error)
    }
    const nodes = this.#config.sentinel?.nodes.length ?? 0
    const timer = setTimeout(
      () => fail(new Error('Redis does not answer')),
      withinTimer(this.#config.connectTimeoutMs * (1 + nodes)),
    )
    client
      .connect()
      .then(() => this.#greet(client))
      .finally(() => clearTimeout(timer))
      .then(
        (server) => this.#arrived(client, server),
        (error: unknown) => fail(refusalOf(error) ?? refusalOf(lastError) ?? lastError ?? asError(error)),
      )
  }

  async #greet(client: Redis): Promise<RedisServer> {
    const { username, password, database } = parseRedisAddress(this.#config)
    // The deadline of the whole attempt ends these, too.
    const ask = (name: string, ...args: ScriptArgument[]): Promise<ScriptReply> =>
      this.#send(client, name, args, Infinity)
    const greetings: Promise<unknown>[] = []
    if (password !== undefined)
      greetings.push(
        ask('auth', ...(username === undefined ? [] : [username]), password).catch(toleratesNoPassword),
      )
    if (database > 0) greetings.push(ask('select', database))
    greetings.push(ask('client', 'setname', `tunnelmq-${this.name}`).catch(() => undefined))
    const info = ask('info')
    // All are sent at once; the first that is refused is the reason.
    await Promise.all([...greetings, info.catch(() => undefined)])
    return checkServer(String(await info))
  }

  #arrived(client: Redis, server: RedisServer): void {
    if (this.#client !== client) return discard(client)
    this.#isUp = true
    this.#attempts = 0
    this.#failure = undefined
    client.once('close', () => {
      if (this.#client === client) this.drop(LOST)
    })
    if (client.status !== 'ready') return this.drop(LOST)
    this.#events.up(server)
  }

  #failedAttempt(error: Error): void {
    this.#failure = wordsOf(error)
    this.#retry()
    this.#events.failed(error)
  }

  #retry(): void {
    if (!this.#isOpen) return
    const delayMs = Math.min(RETRY_MS.most, RETRY_MS.first * 2 ** Math.min(this.#attempts++, 10))
    clearTimeout(this.#retryTimer)
    this.#retryTimer = setTimeout(() => this.#attempt(), delayMs)
  }

  #lose(reason: string): void {
    const client = this.#client
    const wasUp = this.#isUp
    this.#client = undefined
    this.#isUp = false
    this.#failure = reason
    if (client !== undefined) discard(client)
    this.#failPending(reason)
    if (wasUp) this.#events.down(reason)
  }

  #failPending(reason: string): void {
    const failed = [...this.#pending]
    this.#pending.clear()
    for (const pending of failed) pending.reject(unavailable(reason))
  }

  /** Answers come in order, so the oldest is overdue first. */
  #watch(): void {
    if (this.#watchTimer !== undefined) return
    this.#watchTimer = setTimeout(() => {
      // After this turn has read what came: it may be this process that was stopped, and not Redis.
      setImmediate(() => {
        this.#watchTimer = undefined
        const [oldest] = this.#pending
        if (oldest === undefined) return
        // A long answer that is coming, or many of them, are signs of life.
        const received = this.#client?.stream?.bytesRead ?? 0
        if (received !== this.#received) this.#lifeAtMs = performance.now()
        this.#received = received
        const sinceMs = performance.now() - Math.max(oldest.sentAtMs, this.#lifeAtMs)
        if (!this.#isUp || sinceMs < oldest.timeoutMs) return this.#watch()
        this.drop('Redis does not answer')
        this.#events.silent()
      })
    }, WATCH_MS)
  }
}

/** At once: `end` would wait for an answer that a frozen server does not give. */
function discard(client: Redis): void {
  client.disconnect()
  // Undefined until the address is known.
  const stream: { destroy(): unknown } | undefined = client.stream
  stream?.destroy()
}

function refusalOf(error: unknown): Refusal | undefined {
  if (error instanceof Refusal) return error
  if (error instanceof Error && error.name === 'ReplyError') return new Refusal(error.message)
  return undefined
}

/** A password that nobody asks for is a matter of taste. */
function toleratesNoPassword(error: unknown): void {
  if (!(error instanceof Refusal && error.message.includes('without any password configured'))) throw error
}

function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error))
}

function wordsOf(error: Error): string {
  const code = 'code' in error ? String(error.code) : ''
  if (code === 'ECONNREFUSED') return 'Redis is not there (connection refused)'
  if (code === 'ETIMEDOUT') return 'Redis does not answer'
  if (code === 'ENOTFOUND' || code === 'EAI_AGAIN') return `The host name of Redis is not known (${code})`
  return error instanceof Refusal || code.startsWith('TMQ_') || error.message.startsWith('Redis ')
    ? reasonOf(error)
    : `Redis: ${error.message}`
}
