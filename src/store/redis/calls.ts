import type { ClusterConfig, RedisConfig } from '../../config/cluster-schema.ts'
import type { Batch } from './batch.ts'
import type { Connections } from './connections.ts'
import type { ScriptArgument, ScriptReply } from './contract.ts'
import type { ReadAfter } from './follower.ts'
import { runScript, Scripts } from './scripts.ts'
import { READ_COUNT, streamsOf, type ReadStreams } from './stream-entries.ts'

/** What the machinery of the link asks Redis for, and on which connection. */
export class Calls {
  readonly #connections: Connections
  readonly #config: RedisConfig
  readonly #scripts: Scripts

  constructor(connections: Connections, config: RedisConfig, cluster: ClusterConfig) {
    this.#connections = connections
    this.#config = config
    this.#scripts = new Scripts({ logMax: cluster.logMax, inboxMaxBytes: cluster.inboxMaxBytes })
  }

  /** Redis compiles them, and says what is wrong with one: rejects then. */
  async loadScripts(): Promise<void> {
    for (const { text } of this.#scripts.all())
      await this.#connections.get('reads').send('script', ['load', text])
  }

  run(on: 'reads' | 'writes', name: string, args: readonly ScriptArgument[]): Promise<ScriptReply> {
    const connection = this.#connections.get(on)
    const send = (command: string, words: readonly ScriptArgument[]): Promise<ScriptReply> =>
      connection.send(command, words)
    return runScript(send, this.#scripts.get(name), this.#config.keyPrefix, args)
  }

  /**
   * With `waitReplicas`, WAIT follows on the same connection, whose last write it waits for. Replicas that have the
   * batch may still not be the one that is promoted: it makes a loss unlikely, not impossible.
   */
  async apply(pod: string, batch: Batch): Promise<{ reply: ScriptReply; isReplicated: boolean }> {
    const { waitReplicas, waitTimeoutMs } = this.#config
    const script = batch.frees ? 'apply allow-oom' : 'apply'
    const reply = await this.run('writes', script, [pod, batch.number, ...batch.args])
    if (waitReplicas === 0 || batch.frees || batch.entries.length === 0) return { reply, isReplicated: true }
    const count = await this.#connections
      .get('writes')
      .send('wait', [waitReplicas, waitTimeoutMs], waitTimeoutMs)
    return { reply, isReplicated: Number(count) >= waitReplicas }
  }

  async read(pod: string, after: ReadAfter, blockMs: number): Promise<ReadStreams> {
    const prefix = this.#config.keyPrefix
    const inbox = `${prefix}inbox:${pod}`
    const ids = [`${after.position}-0`, `${after.inboxPosition}-0`]
    const args = ['COUNT', READ_COUNT, 'BLOCK', blockMs, 'STREAMS', `${prefix}log`, inbox, ...ids]
    return streamsOf(await this.#connections.get('follow').send('xread', args, blockMs), inbox)
  }

  /** The last number that was given out in the inbox, if nothing is left in it; undefined: there is, or who knows. */
  async handled(pod: string, inboxPosition: number, bytes: number): Promise<number | undefined> {
    try {
      const reply = await this.run('reads', 'handled', [pod, inboxPosition, bytes])
      const [last, left] = Array.isArray(reply) ? (reply as readonly ScriptReply[]) : []
      return typeof last === 'number' && left === 0 ? last : undefined
    } catch {
      // They are trimmed with the next ones.
      return undefined
    }
  }

  /** `save` and `appendfsync`; undefined: not for us to know. */
  async settings(): Promise<ReadonlyMap<string, string> | undefined> {
    const asked = this.#connections.get('reads').send('config', ['get', 'save', 'appendfsync'])
    const reply = await asked.catch(() => undefined)
    if (!Array.isArray(reply)) return undefined
    const values = (reply as readonly ScriptReply[]).map(String)
    return new Map([
      [values[0] ?? '', values[1] ?? ''],
      [values[2] ?? '', values[3] ?? ''],
    ])
  }
}
