import type { ClientDetail, ClientQuery, ClientRef, ClientSummary, Page } from '../../admin/api/resources.ts'
import { clientCursor, compareClients, readClientCursor } from '../../admin/cursor.ts'
import type { Cluster } from '../../cluster/contract.ts'
import type { Store } from '../../store/contract.ts'
import { sessionIdOf } from '../../store/session-id.ts'
import type { TunnelRouter } from '../../tunnel/router/router.ts'
import type { Broker } from '../broker.ts'
import type { ClientSession } from '../client-session.ts'
import { detailOf, refOf, summaryOf } from './client-facts.ts'
import { firstOf } from './portions.ts'

export interface ClientsParts {
  readonly broker: Broker
  readonly store: Store
  readonly cluster: Cluster
  readonly tunnels: TunnelRouter | undefined
}

/** Sessions whose pods are asked for at once, at most. */
const MAX_CANDIDATES = 20_000

interface Candidate extends ClientRef {
  readonly session: ClientSession
}

/** Clients that are connected here, and stored sessions without a connection at any pod. */
export class Clients {
  readonly #parts: ClientsParts

  constructor(parts: ClientsParts) {
    this.#parts = parts
  }

  async page(query: ClientQuery): Promise<Page<ClientSummary>> {
    const { limit, state } = query
    const { cluster } = this.#parts
    const isWhole = !cluster.isShared || state === 'connected'
    let from = query.after === undefined ? undefined : readClientCursor(query.after)
    let total: number | null = null
    const found: Candidate[] = []
    for (let count = limit + 1; ; count = Math.min(4 * count, MAX_CANDIDATES)) {
      const pass = await this.#candidates(query, from, count)
      total ??= pass.total
      found.push(...(isWhole ? pass.candidates : await this.#withoutElsewhere(pass.candidates)))
      if (found.length > limit || pass.candidates.length < count) break
      from = pass.candidates.at(-1)
    }
    const shown = found.slice(0, limit)
    return {
      items: shown.map(({ session }) => summaryOf(session, cluster.pod)),
      next: found.length > limit ? clientCursor(shown.at(-1)!) : null,
      // Of offline ones, each pod would have to be asked who has them.
      total: isWhole ? total : null,
    }
  }

  client({ id, mountpoint }: ClientRef): ClientDetail | undefined {
    const { broker, store, tunnels, cluster } = this.#parts
    const session = broker.sessions.get(sessionIdOf(id, mountpoint))
    return session && detailOf(session, { pod: cluster.pod, store, tunnels })
  }

  /** All are looked at, so that they can be counted; `count` of them behind `after` are found. */
  async #candidates(
    query: ClientQuery,
    after: ClientRef | undefined,
    count: number,
  ): Promise<{ candidates: Candidate[]; total: number }> {
    const { sessions } = this.#parts.broker
    let total = 0
    const all = query.state === 'connected' ? sessions.connected() : sessions.all()
    const isWanted = createMatcher(query)
    const candidates = await firstOf(all, count, compareClients, (session): Candidate | undefined => {
      const { id, mountpoint } = refOf(session)
      if (!isWanted(session, id)) return undefined
      total++
      const candidate = { id, mountpoint, session }
      return after !== undefined && compareClients(candidate, after) <= 0 ? undefined : candidate
    })
    return { candidates, total }
  }

  /** Their own pods show them. What a Redis that is away cannot say is shown as it was known last. */
  async #withoutElsewhere(candidates: readonly Candidate[]): Promise<readonly Candidate[]> {
    const offline = candidates.filter(({ session }) => session.connection === undefined)
    if (offline.length === 0) return candidates
    const elsewhere = await this.#parts.cluster.elsewhere(offline.map(({ session }) => session.id))
    return candidates.filter(({ session }) => session.connection !== undefined || !elsewhere.has(session.id))
  }
}

/** Does the query ask for this session? */
function createMatcher({
  state,
  listener,
  search,
}: ClientQuery): (session: ClientSession, id: string) => boolean {
  const needle = search?.toLowerCase()
  return ({ connection }, id) => {
    if (state !== 'all' && (state === 'connected') !== (connection !== undefined)) return false
    const peer = connection?.transport.peer
    if (listener !== undefined && peer?.listener !== listener) return false
    if (needle === undefined) return true
    return (
      id.toLowerCase().includes(needle) ||
      connection?.session?.username?.toLowerCase().includes(needle) === true ||
      peer?.address.includes(needle) === true
    )
  }
}
