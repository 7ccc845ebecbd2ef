import { type Level, type LevelBatch, openLevel } from '../../src/store/embedded/level.ts'

/** `before`: the batch is not written; `after`: it is, and said to have failed; `open`: opening fails, too. */
export type Fault = 'before' | 'after'

/** A LevelDB on the real disk that fails when it is told to. */
export class FaultyLevel {
  fault: Fault | undefined
  failOpen = false
  writes = 0
  opens = 0
  /** What a scan has read waits for this before it is handed over. */
  readGate: Promise<void> = Promise.resolve()
  reads = 0
  /** Writes wait for this. */
  gate: Promise<void> = Promise.resolve()

  readonly open: typeof openLevel = async (path, options) => {
    this.opens++
    if (this.failOpen) throw new Error('cannot open')
    const level = await openLevel(path, options)
    return {
      ...level,
      begin: () => this.#wrap(level),
      scan: (range, portion) => this.#gated(level.scan(range, portion)),
    }
  }

  async *#gated(portions: ReturnType<Level['scan']>): ReturnType<Level['scan']> {
    for await (const portion of portions) {
      this.reads++
      await this.readGate
      yield portion
    }
  }

  #wrap(level: Level): LevelBatch {
    const batch = level.begin()
    return {
      get isEmpty() {
        return batch.isEmpty
      },
      get bytes() {
        return batch.bytes
      },
      put: (key, value) => batch.put(key, value),
      del: (key) => batch.del(key),
      discard: () => batch.discard(),
      write: async (sync) => {
        this.writes++
        await this.gate
        if (this.fault === 'before') batch.discard()
        else await batch.write(sync)
        if (this.fault !== undefined) throw new Error('No space left on device')
      },
    }
  }
}
