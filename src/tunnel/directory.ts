import { ErrorCode, TunnelMQError } from '../errors.ts'
import type { Link } from './link/link.ts'
import { parseStatus, type AgentInfo } from './status.ts'

/** What is known of an agent: `unreadable` when its status may not be read, or did not come in time. */
export type Knowledge =
  | { readonly kind: 'known'; readonly info: AgentInfo }
  | { readonly kind: 'absent' }
  | { readonly kind: 'unreadable' }

/** `info` is undefined when the status was removed. */
export type AgentListener = (agent: string, info: AgentInfo | undefined) => void

/** Agents that are remembered; more are somebody's made-up names. */
const MAX_AGENTS = 100_000
/** Agents that are watched one by one, before all are. */
const MAX_WATCHED = 256
const STATUS_TIMEOUT_MS = 5_000

/** Agents by what their retained status says. Watched from the first question on. */
export class AgentDirectory {
  readonly #link: Link
  readonly #agents = new Map<string, AgentInfo>()
  readonly #watched = new Set<string>()
  readonly #listeners = new Set<AgentListener>()
  /** Asked on this connection; what was told on an earlier one may be old. */
  #lookups = new Map<string, { readonly answer: Promise<Knowledge>; isComplete: boolean }>()

  constructor(link: Link) {
    this.#link = link
  }

  /** A status came. */
  told(agent: string, payload: Buffer | undefined): void {
    if (payload === undefined || payload.length === 0) {
      if (this.#agents.delete(agent)) this.#notify(agent, undefined)
      return
    }
    const info = parseStatus(agent, payload)
    if (info === undefined || (!this.#agents.has(agent) && this.#agents.size >= MAX_AGENTS)) return
    this.#agents.set(agent, info)
    this.#notify(agent, info)
  }

  /** The connection is new, or gone: answers have to be asked for again. */
  forgetLookups(): void {
    this.#lookups = new Map()
  }

  /** As last told, whether or not that is up to date. */
  get(agent: string): AgentInfo | undefined {
    return this.#agents.get(agent)
  }

  /** At once, if it was looked up on this connection; after that its changes are told. */
  known(agent: string): Knowledge | undefined {
    const lookup = this.#lookups.get(agent)
    return lookup?.isComplete === true ? this.#knowledge(agent) : undefined
  }

  lookUp(agent: string): Promise<Knowledge> {
    const running = this.#lookups.get(agent)
    if (running !== undefined) return running.answer
    const lookup = { answer: this.#ask(agent), isComplete: false }
    this.#lookups.set(agent, lookup)
    void lookup.answer.then(({ kind }) => (lookup.isComplete = kind !== 'unreadable'))
    return lookup.answer
  }

  /** All agents, by name. @throws {TunnelMQError} TMQ_UNREACHABLE, TMQ_TIMEOUT */
  async list(timeoutMs = STATUS_TIMEOUT_MS): Promise<AgentInfo[]> {
    this.#watch('+')
    await this.#complete(timeoutMs)
    return [...this.#agents.values()].toSorted((a, b) => (a.id < b.id ? -1 : 1))
  }

  /** Tells what is known, and each change of it. */
  watch(listener: AgentListener): () => void {
    for (const [agent, info] of this.#agents) listener(agent, info)
    this.#listeners.add(listener)
    this.#watch('+')
    return () => void this.#listeners.delete(listener)
  }

  async #ask(agent: string): Promise<Knowledge> {
    try {
      this.#watch(agent)
      await this.#complete(STATUS_TIMEOUT_MS)
      return this.#knowledge(agent)
    } catch {
      return { kind: 'unreadable' }
    }
  }

  #knowledge(agent: string): Knowledge {
    const info = this.#agents.get(agent)
    return info === undefined ? { kind: 'absent' } : { kind: 'known', info }
  }

  async #complete(timeoutMs: number): Promise<void> {
    try {
      await this.#link.statusComplete(timeoutMs)
    } catch (error) {
      if (error instanceof TunnelMQError) throw error
      throw new TunnelMQError(ErrorCode.unreachable, 'the status of agents cannot be read', { cause: error })
    }
  }

  #watch(agent: string): void {
    if (this.#watched.has('+') || this.#watched.has(agent)) return
    const filter = this.#watched.size < MAX_WATCHED ? agent : '+'
    this.#watched.add(filter)
    this.#link.watchStatus(filter)
  }

  #notify(agent: string, info: AgentInfo | undefined): void {
    for (const listener of this.#listeners) listener(agent, info)
  }
}
