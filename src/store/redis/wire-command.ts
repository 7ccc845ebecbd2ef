import type { Writable } from 'node:stream'
import { Command } from 'ioredis'
import type { ScriptArgument } from './contract.ts'

/** A payload of this size costs less as a write of its own than as a copy. */
const OWN_WRITE_BYTES = 16_384

/** A command of ioredis whose last argument, if it is large, goes to the socket as it is, and not in a copy. */
export class WireCommand extends Command {
  constructor(name: string, args: readonly ScriptArgument[]) {
    // Types of commands as ioredis has them are looser than ours: replies are checked by whoever reads them.
    super(name, args as ScriptArgument[], { replyEncoding: null })
  }

  /** What is returned is written by ioredis, after what is written here. */
  override toWritable(socket: object): string | Buffer {
    const payload = this.args.at(-1)
    if (!(payload instanceof Buffer) || payload.length < OWN_WRITE_BYTES) return super.toWritable(socket)
    const texts = [this.name, ...this.args.slice(0, -1)]
    if (!texts.every((text) => typeof text === 'string')) return super.toWritable(socket)
    const stream = socket as Writable
    const parts = texts.map((text) => `$${Buffer.byteLength(text)}\r\n${text}\r\n`)
    const head = `*${this.args.length + 1}\r\n${parts.join('')}`
    stream.cork()
    stream.write(`${head}$${payload.length}\r\n`)
    stream.write(payload)
    process.nextTick(() => stream.uncork())
    return '\r\n'
  }
}
