import type { RedisConfig } from '../../config/cluster-schema.ts'
import { ErrorCode, TunnelMQError } from '../../errors.ts'
import { Connection } from './connection.ts'
import type { ScriptArgument, ScriptReply } from './contract.ts'
import { describeRedis } from './options.ts'
import { reasonOf } from './refusal.ts'

/** For tools: they read much at once, and nobody waits for a message meanwhile. */
const COMMAND_TIMEOUT_MS = 30_000
const SCAN_COUNT = 1_000

/** A connection for a tool, which is no pod: nothing is joined, and nothing is written unless it is asked for. */
export interface DirectRedis {
  /** For people; without the password. */
  readonly name: string
  /** With the prefix. */
  key(name: string): string
  /** Rejects with TMQ_STORE_UNAVAILABLE, and with what Redis says. */
  command(name: string, ...args: ScriptArgument[]): Promise<ScriptReply>
  /** In one go, answered in order. */
  commands(commands: readonly DirectCommand[]): Promise<ScriptReply[]>
  /** Fields and values of a hash, in portions; one may come twice when it is changed meanwhile. */
  hashes(key: string): AsyncGenerator<readonly (readonly [field: Buffer, value: Buffer])[]>
  /** Names of keys with our prefix, without it, in portions; one may come twice. */
  names(): AsyncGenerator<readonly Buffer[]>
  close(): void
}

export type DirectCommand = readonly [string, ...ScriptArgument[]]

/** Rejects with TMQ_STORE_UNAVAILABLE when Redis is not there, and TMQ_STORE when it is not fit. One attempt. */
export function openDirect(config: RedisConfig): Promise<DirectRedis> {
  const patient = { ...config, commandTimeoutMs: Math.max(config.commandTimeoutMs, COMMAND_TIMEOUT_MS) }
  return new Promise((resolve, reject) => {
    const connection = new Connection('store', patient, {
      up: () => resolve(createDirect(connection, patient)),
      // Whoever waits for an answer is told.
      down: () => connection.close(),
      silent: () => undefined,
      failed(error) {
        connection.close()
        const code = error instanceof TunnelMQError ? error.code : ErrorCode.storeUnavailable
        reject(new TunnelMQError(code, `${describeRedis(config)}: ${reasonOf(error)}`, { cause: error }))
      },
    })
    connection.open()
  })
}

function createDirect(connection: Connection, config: RedisConfig): DirectRedis {
  const prefix = config.keyPrefix
  // In capitals: ioredis makes objects of what some commands answer, and knows these by their lower-case names.
  const send = (name: string, args: readonly ScriptArgument[]): Promise<ScriptReply> =>
    connection.send(name.toUpperCase(), args)

  async function* scan(name: string, ...args: ScriptArgument[]): AsyncGenerator<Buffer[]> {
    let cursor = '0'
    do {
      const at = name === 'scan' ? [cursor, ...args] : [args[0] ?? '', cursor, ...args.slice(1)]
      const [next, found] = listOf(await send(name, [...at, 'COUNT', SCAN_COUNT]))
      yield buffersOf(found)
      cursor = String(next)
    } while (cursor !== '0')
  }

  async function* hashes(key: string): AsyncGenerator<[Buffer, Buffer][]> {
    for await (const flat of scan('hscan', key)) yield pairsOf(flat)
  }

  async function* names(): AsyncGenerator<Buffer[]> {
    const bytes = Buffer.byteLength(prefix)
    // The prefix has none of the characters that mean something here (config/cluster-schema.ts).
    for await (const keys of scan('scan', 'MATCH', `${prefix}*`)) yield keys.map((key) => key.subarray(bytes))
  }

  return {
    name: describeRedis(config),
    key: (name) => `${prefix}${name}`,
    command: (name, ...args) => send(name, args),
    commands: (commands) => Promise.all(commands.map(([name, ...args]) => send(name, args))),
    hashes,
    names,
    close: () => connection.close(),
  }
}

/** Of a reply that is a list; anything else is an empty one. */
export function listOf(reply: ScriptReply | undefined): readonly ScriptReply[] {
  return Array.isArray(reply) ? (reply as readonly ScriptReply[]) : []
}

export function buffersOf(reply: ScriptReply | undefined): Buffer[] {
  return listOf(reply).filter((one): one is Buffer => Buffer.isBuffer(one))
}

export function pairsOf(flat: readonly Buffer[]): [Buffer, Buffer][] {
  const pairs: [Buffer, Buffer][] = []
  for (let at = 0; at + 1 < flat.length; at += 2) pairs.push([flat[at]!, flat[at + 1]!])
  return pairs
}

/** Of a count, or of a number as text; NaN: neither. */
export function numberOf(reply: ScriptReply | undefined): number {
  if (typeof reply === 'number') return reply
  return Buffer.isBuffer(reply) && /^-?\d+(?:\.\d+)?$/.test(reply.toString('latin1'))
    ? Number(reply)
    : Number.NaN
}
