import type { Decision } from '../../hooks/decision.ts'
import { serveFilter } from '../protocol/names.ts'
import type { TunnelEnd } from './end.ts'
import type { Lane, Namespaces } from './seats.ts'

/** Why not, and which handler has said so. */
export interface RightRefusal {
  readonly reason: string
  readonly handler: string
}

/** What follows from an answer; undefined: it may. */
type Decided = (refusal: RightRefusal | undefined) => void

/** Asks the handlers of a connection what it may do. Nothing here rejects. */
export class Rights {
  readonly #namespaces: Namespaces

  constructor(namespaces: Namespaces) {
    this.#namespaces = namespaces
  }

  /** May it serve as the agent of its name? */
  async mayServe(end: TunnelEnd): Promise<boolean> {
    const topic = serveFilter(end.name)
    return (await end.authTunnel({ action: 'serve', agent: end.name, service: '+', topic })).allowed
  }

  async mayOpen(end: TunnelEnd, lane: Lane): Promise<boolean> {
    return (await ask(end, lane)).allowed
  }

  /** Asks for one stream; synchronous answers cost no promise. What the client sends meanwhile waits. */
  toOpen(end: TunnelEnd, lane: Lane, decided: Decided): void {
    // The lane stays, though its last stream makes room for another meanwhile.
    lane.askingCount++
    const decision = ask(end, lane)
    if (!(decision instanceof Promise)) {
      decided(refusalOf(decision))
      this.#leave(lane)
      return
    }
    end.hold()
    void decision
      .then((made) => {
        // It may have lost its place meanwhile.
        if (lane.client.end === end) decided(refusalOf(made))
      })
      .finally(() => {
        this.#leave(lane)
        end.release()
      })
  }

  /** A client with a thousand streams to a service comes back with a thousand RESUMEs: one answer is for all. */
  toResume(end: TunnelEnd, lane: Lane, decided: Decided): void {
    for (const { authorized, phase } of lane.streams.values())
      if (authorized === end && phase !== 'closed') return decided(undefined)
    this.toOpen(end, lane, decided)
  }

  #leave(lane: Lane): void {
    lane.askingCount--
    this.#namespaces.tidy(lane)
  }
}

function ask(end: TunnelEnd, { agent, service, up }: Lane): ReturnType<TunnelEnd['authTunnel']> {
  return end.authTunnel({ action: 'open', agent: agent.name, service, topic: up.topic })
}

function refusalOf({ allowed, reason = 'refused', handler }: Decision): RightRefusal | undefined {
  return allowed ? undefined : { reason, handler }
}
