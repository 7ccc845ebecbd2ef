import { randomBytes } from 'node:crypto'
import type { Log } from '../../log.ts'
import type { ScriptArgument, ScriptReply } from './contract.ts'
import { FORMAT } from './format.ts'
import type { StreamFollower } from './follower.ts'
import { beatOf, joinedOf, type Beat, type Joined } from './membership.ts'
import { reasonOf } from './refusal.ts'
import type { BatchWriter } from './writer.ts'

/** Before everything is loaded again, when that has failed. */
const AGAIN_MS = 250

export interface JoiningOptions {
  readonly leaseMs: number
  readonly log: Log
  readonly writer: BatchWriter
  readonly follower: StreamFollower
  script(name: string, args: readonly ScriptArgument[]): Promise<ScriptReply>
  /** Before the first join: rejects for what waiting does not mend. */
  prepare(): Promise<void>
  isConnected(): boolean
  /** It has been loaded, or that has failed. */
  changed(error: Error | undefined): void
}

/**
 * This pod as one of the pods, and what it has in memory as a copy of the data.
 *
 *   needed ──connected──▶ joining ──▶ loading ──▶ loaded
 *      ▲─────────────── failed ◀─────────┘          │
 *      └─ another server or epoch, a gap in the log, declared dead, asked for ─┘
 */
export class Joining {
  readonly #options: JoiningOptions
  readonly #loads: ((position: number) => Promise<void>)[] = []
  readonly #emptiedListeners: (() => void)[] = []
  readonly #expelledListeners: (() => void)[] = []
  readonly #reloadedListeners: (() => void)[] = []
  #info: () => string = () => '{}'
  #pod = newPodId()
  /** Of the data that was joined last; empty: none yet. */
  #epoch = ''
  #need: string | undefined = 'Redis is not connected yet'
  #isJoined = false
  #isLoading = false
  #isLoaded = false
  /** At least once. */
  #wasLoaded = false
  #isClosed = false
  #isBeating = false
  #againTimer: NodeJS.Timeout | undefined
  #reloads = 0
  #emptied = 0

  constructor(options: JoiningOptions) {
    this.#options = options
  }

  get pod(): string {
    return this.#pod
  }

  get failure(): string | undefined {
    if (this.#need !== undefined) return this.#need
    return this.#isLoading ? 'Everything is being loaded from Redis' : undefined
  }

  /** Writes may go: Redis knows this pod, as far as is known. */
  get isJoined(): boolean {
    return this.#isJoined
  }

  get isLoading(): boolean {
    return this.#isLoading
  }

  get hasJoined(): boolean {
    return this.#epoch !== ''
  }

  get reloads(): number {
    return this.#reloads
  }

  get emptied(): number {
    return this.#emptied
  }

  onLoad(load: (position: number) => Promise<void>): void {
    this.#loads.push(load)
  }

  onEmptied(listener: () => void): void {
    this.#emptiedListeners.push(listener)
  }

  onExpelled(listener: () => void): void {
    this.#expelledListeners.push(listener)
  }

  onReloaded(listener: () => void): void {
    this.#reloadedListeners.push(listener)
  }

  setInfo(info: () => string): void {
    this.#info = info
  }

  close(): void {
    this.#isClosed = true
    clearTimeout(this.#againTimer)
  }

  /** Everything is to be loaded, as soon as that can be. */
  require(reason: string): void {
    if (this.#isClosed) return
    if (this.#isLoaded) this.#options.log.warn({ reason }, 'everything is loaded from redis again')
    this.#isLoaded = false
    this.#isJoined = false
    this.#need ??= reason
    this.#options.follower.doubt()
    this.#options.writer.pause(reason)
    this.advance()
  }

  advance(): void {
    if (this.#isClosed || this.#isLoading || this.#need === undefined || !this.#options.isConnected()) return
    const reason = this.#need
    this.#need = undefined
    this.#isLoading = true
    clearTimeout(this.#againTimer)
    this.#load().then(
      () => this.#finished(reason, undefined),
      (error: unknown) => this.#finished(reason, error instanceof Error ? error : new Error(String(error))),
    )
  }

  /** Says that this pod lives. Undefined: it could not, or is not one of the pods. */
  async beat(): Promise<Beat | undefined> {
    if (!this.#isJoined || this.#isBeating || !this.#options.isConnected()) return undefined
    const { position } = this.#options.follower
    const pod = this.#pod
    this.#isBeating = true
    try {
      const beat = beatOf(await this.#options.script('beat', [pod, this.#options.leaseMs, this.#info()]))
      if (!this.#isJoined || pod !== this.#pod || this.#isClosed) return undefined
      if (beat.epoch !== this.#epoch) {
        this.require('Redis has other data')
        return undefined
      }
      if (!beat.isMember) {
        this.require('This pod was declared dead')
        return undefined
      }
      if (this.#isLoaded && beat.head < position) {
        this.require('Redis has older data')
        return undefined
      }
      this.#options.follower.noteHead(beat.head)
      return beat
    } catch (error) {
      this.#options.log.debug({ reason: reasonOf(error) }, 'a beat failed')
      return undefined
    } finally {
      this.#isBeating = false
    }
  }

  async #load(): Promise<void> {
    await this.#options.follower.stop()
    if (!this.hasJoined) await this.#options.prepare()
    const joined = await this.#join()
    if (this.#need === undefined) {
      this.#isJoined = true
      this.#options.changed(undefined)
    }
    for (const load of this.#loads) await load(joined.position)
    this.#options.follower.loaded(joined.position, joined.inboxPosition)
  }

  async #join(): Promise<Joined> {
    const isFirst = !this.hasJoined
    const { leaseMs, follower } = this.#options
    const freshEpoch = randomBytes(8).toString('hex')
    const ask = async (isMember: boolean): Promise<Joined | 'expelled'> =>
      joinedOf(
        await this.#options.script('join', [
          this.#pod,
          freshEpoch,
          this.#epoch,
          isMember ? 1 : 0,
          leaseMs,
          this.#info(),
          FORMAT,
        ]),
      )
    let answer = await ask(!isFirst)
    const isExpelled = answer === 'expelled'
    if (isExpelled) {
      const former = this.#pod
      this.#pod = newPodId()
      this.#options.log.error(
        { pod: this.#pod, former },
        'this pod was declared dead, and joins under another name',
      )
      this.#options.writer.renamed()
      this.#tell(this.#expelledListeners)
      answer = await ask(false)
    }
    if (answer === 'expelled') throw new Error('Redis does not let this pod join')
    const isEmptied = !isFirst && answer.epoch !== this.#epoch
    this.#epoch = answer.epoch
    if (isEmptied) {
      this.#emptied++
      this.#options.log.error('redis has lost everything that was stored, or is another one')
      this.#tell(this.#emptiedListeners)
    }
    if (answer.format < FORMAT)
      this.#options.log.warn(
        { from: answer.format, to: FORMAT },
        'redis raised to a later format: earlier versions refuse it',
      )
    // What is in the inbox is not in what is loaded: it is read on where it was.
    const isSameInbox =
      !isFirst && !isExpelled && !isEmptied && answer.inboxPosition >= follower.inboxPosition
    return isSameInbox ? { ...answer, inboxPosition: follower.inboxPosition } : answer
  }

  #finished(reason: string, error: Error | undefined): void {
    this.#isLoading = false
    if (this.#isClosed) return
    if (error !== undefined) {
      this.#need ??= reason
      this.#isJoined = false
      this.#options.writer.pause(reason)
      this.#options.changed(error)
      this.#againTimer = setTimeout(() => this.advance(), AGAIN_MS)
      return
    }
    if (this.#need !== undefined) return this.advance()
    const isFirst = !this.#wasLoaded
    this.#wasLoaded = true
    this.#isLoaded = true
    if (!isFirst) {
      this.#reloads++
      this.#tell(this.#reloadedListeners)
    }
    this.#options.changed(undefined)
  }

  #tell(listeners: readonly (() => void)[]): void {
    for (const listener of listeners) {
      try {
        listener()
      } catch (error) {
        this.#options.log.error({ err: error }, 'a listener of the redis link failed')
      }
    }
  }
}

function newPodId(): string {
  return randomBytes(8).toString('hex')
}
