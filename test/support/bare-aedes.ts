import type { EventEmitter } from 'node:events'
import { cp } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net'
import { join } from 'node:path'
import { Aedes, type AedesOptions } from 'aedes'
import { Level } from 'level'
import { StoreBrake } from './store-brake.ts'
import { temporaryFolder } from './store-folder.ts'

// CommonJS; what is said of their types is for a default export that they do not have, or nothing.
const require = createRequire(import.meta.url)
const createMemoryPersistence = require('aedes-persistence') as () => object
const createLevelPersistence = require('aedes-persistence-level') as (db: Level) => object

export interface BareOptions extends Omit<AedesOptions, 'persistence' | 'mq'> {
  /** Default: memory. Only `level` survives a restart. */
  readonly store?: 'memory' | 'level'
}

/** Aedes as it is published, on a TCP port: the twin that shows the defects which ours must not have. */
export class BareAedes {
  /** Short, since what does not come from bare Aedes is what a test waits for. */
  readonly deadlineMs = 3_000
  readonly brake = new StoreBrake()
  readonly #options: BareOptions
  readonly #folder: Awaited<ReturnType<typeof temporaryFolder>>
  readonly #sockets = new Set<Socket>()
  readonly #abandoned: Level[] = []
  /** Calls of the persistence under way. */
  readonly #working = new Set<Promise<unknown>>()
  #run = 0
  #server: Server | undefined
  #aedes: Aedes | undefined
  #db: Level | undefined

  private constructor(options: BareOptions, folder: Awaited<ReturnType<typeof temporaryFolder>>) {
    this.#options = options
    this.#folder = folder
  }

  static async start(options: BareOptions = {}): Promise<BareAedes> {
    const bare = new BareAedes(options, await temporaryFolder())
    await bare.#start()
    return bare
  }

  get port(): number {
    return (this.#server!.address() as AddressInfo).port
  }

  /** Stops it in an orderly way, and starts it again with what was stored. */
  async restart(): Promise<void> {
    await this.#close()
    await this.#start()
  }

  /** Ends it as it stands, and starts another one with what has been written by now. */
  async kill(): Promise<void> {
    const before = this.#path
    this.#run++
    await cp(before, this.#path, { recursive: true })
    this.#destroySockets()
    await new Promise((resolve) => this.#server!.close(resolve))
    this.#aedes!.close()
    if (this.#db !== undefined) this.#abandoned.push(this.#db)
    this.brake.release()
    await this.#start()
  }

  async stop(): Promise<void> {
    this.brake.release()
    await this.#close()
    for (const db of this.#abandoned) await db.close()
    await this.#folder.remove()
  }

  get #path(): string {
    return join(this.#folder.path, String(this.#run))
  }

  async #start(): Promise<void> {
    const { store, ...options } = this.#options
    const aedes = new Aedes({ ...options, persistence: await this.#openPersistence(store) })
    // What a store refuses is told here, too; without a listener it would end the process.
    ;(aedes as EventEmitter).on('error', () => {})
    await aedes.listen()
    this.#aedes = aedes
    const server = createServer((socket) => {
      socket.setNoDelay(true)
      this.#sockets.add(socket)
      socket.once('close', () => this.#sockets.delete(socket))
      aedes.handle(socket)
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    this.#server = server
  }

  async #openPersistence(store: BareOptions['store']): Promise<object> {
    if (store !== 'level')
      return tracked(braked(createMemoryPersistence(), MEMORY_WRITES, this.brake), this.#working)
    this.#db = new Level(this.#path)
    await this.#db.open()
    return tracked(createLevelPersistence(braked(this.#db, LEVEL_WRITES, this.brake)), this.#working)
  }

  #destroySockets(): void {
    for (const socket of this.#sockets) socket.destroy()
  }

  async #close(): Promise<void> {
    const closed = new Promise((resolve) => this.#server!.close(resolve))
    await new Promise<void>((resolve) => this.#aedes!.close(resolve))
    this.#destroySockets()
    await closed
    // Aedes does not wait for what it has begun to store.
    while (this.#working.size > 0) {
      await Promise.allSettled(this.#working)
      // What follows on them is begun.
      await new Promise((resolve) => setImmediate(resolve))
    }
    await this.#db?.close()
  }
}

/** A QoS 1 and 2 message on its way into the store of Aedes; `put` and its like of LevelDB. */
const MEMORY_WRITES = new Set([
  'outgoingEnqueueCombi',
  'outgoingEnqueue',
  'incomingStorePacket',
  'storeRetained',
])
const LEVEL_WRITES = new Set(['put', 'del', 'batch'])
const CHAIN_WRITES = new Set(['write'])
/** These look for a packet in a list: how often they read its fields is how many entries they look at. */
const SEARCHES = new Set(['outgoingUpdate', 'outgoingClearMessageId'])

type Method = (...args: unknown[]) => unknown

function braked<T extends object>(store: T, writes: ReadonlySet<string>, brake: StoreBrake): T {
  return new Proxy(store, {
    get(target, name) {
      const value: unknown = Reflect.get(target, name, target)
      if (typeof value !== 'function') return value
      const method = (value as Method).bind(target)
      if (SEARCHES.has(String(name)))
        return (client: unknown, packet: object) => method(client, counted(packet, brake))
      if (!writes.has(String(name))) return method
      return (...args: unknown[]) => {
        // A chained batch: its `write` is what writes.
        if (name === 'batch' && args.length === 0) return braked(method() as object, CHAIN_WRITES, brake)
        return brake.pass().then(() => method(...args))
      }
    },
  })
}

function tracked(persistence: object, working: Set<Promise<unknown>>): object {
  return new Proxy(persistence, {
    get(target, name) {
      const value: unknown = Reflect.get(target, name, target)
      if (typeof value !== 'function') return value
      const method = (value as Method).bind(target)
      // Aedes asks for the name of its constructor.
      if (name === 'setup') return method
      return (...args: unknown[]) => {
        const result = method(...args)
        if (!(result instanceof Promise)) return result
        working.add(result)
        const done = (): boolean => working.delete(result)
        result.then(done, done)
        return result
      }
    },
  })
}

function counted(packet: object, brake: StoreBrake): object {
  return new Proxy(packet, {
    get(target, name) {
      if (name === 'brokerId' || name === 'messageId') brake.stepCount++
      return Reflect.get(target, name, target)
    },
  })
}
