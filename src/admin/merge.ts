import type { Agent, ClientDetail, ClientSummary, Overview, TracePacket } from './api/resources.ts'
import { clientCursor, compareClients } from './cursor.ts'

/** Answers of several pods as one. Pods with one store know the same of it; each knows its own connections. Pure. */

/** What of figures are those of a pod alone is added up; what all pods know is the most that one knows. */
export function mergeOverviews(self: Overview, others: readonly Overview[]): Overview {
  const all = [self, ...others]
  const sum = (read: (one: Overview) => number): number => all.reduce((total, one) => total + read(one), 0)
  const most = (read: (one: Overview) => number): number => Math.max(...all.map(read))
  const totals = { ...self.totals }
  for (const name of Object.keys(totals) as (keyof Overview['totals'])[])
    totals[name] = sum((one) => one.totals[name])
  return {
    ...self,
    podCount: Math.max(self.podCount, all.length),
    isReady: all.every((one) => one.isReady),
    notReadyReasons: all.flatMap((one) =>
      one.notReadyReasons.map((why) => (others.length === 0 ? why : `${one.pod}: ${why}`)),
    ),
    isDraining: all.some((one) => one.isDraining),
    startedAt: all.map((one) => one.startedAt).toSorted()[0] ?? self.startedAt,
    uptimeSeconds: most((one) => one.uptimeSeconds),
    connections: sum((one) => one.connections),
    sessionsConnected: sum((one) => one.sessionsConnected),
    sessionsStored: most((one) => one.sessionsStored),
    subscriptions: most((one) => one.subscriptions),
    retainedMessages: most((one) => one.retainedMessages),
    retainedBytes: most((one) => one.retainedBytes),
    queuedMessages: most((one) => one.queuedMessages),
    queuedBytes: most((one) => one.queuedBytes),
    inflightMessages: sum((one) => one.inflightMessages),
    streams: sum((one) => one.streams),
    agents: sum((one) => one.agents),
    bannedAddresses: most((one) => one.bannedAddresses),
    totals,
    memoryBytes: sum((one) => one.memoryBytes),
    cpuSeconds: sum((one) => one.cpuSeconds),
  }
}

export interface ClientSlice {
  readonly items: readonly ClientSummary[]
  readonly next: string | null
}

/**
 * One page of what several pods have shown behind the same cursor: each client once, none left out that comes before
 * `next`. A pod that has more to show has told nothing of what is behind its own `next`, so the page ends there.
 */
export function mergeClientPages(
  pages: readonly ClientSlice[],
  readCursor: (cursor: string) => { readonly id: string; readonly mountpoint: string },
  limit: number,
): { items: ClientSummary[]; next: string | null } {
  const horizon = pages
    .flatMap(({ next }) => (next === null ? [] : [readCursor(next)]))
    .toSorted(compareClients)[0]
  const byClient = new Map<string, ClientSummary>()
  for (const item of pages.flatMap(({ items }) => items)) {
    if (horizon !== undefined && compareClients(item, horizon) > 0) continue
    const name = clientCursor(item)
    byClient.set(name, betterOf(byClient.get(name), item))
  }
  const all = [...byClient.values()].toSorted(compareClients)
  const items = all.slice(0, limit)
  const last = items.at(-1)
  if (all.length > limit && last !== undefined) return { items, next: clientCursor(last) }
  return { items, next: horizon === undefined ? null : clientCursor(horizon) }
}

/** `connected` wins; of two connections, the one that came last: the other is being taken over. */
export function betterOf<Client extends ClientSummary | ClientDetail>(
  known: Client | undefined,
  found: Client,
): Client {
  if (known === undefined) return found
  if (known.state !== found.state) return found.state === 'connected' ? found : known
  return (found.connectedAt ?? '') > (known.connectedAt ?? '') ? found : known
}

/** An agent is online at one pod, and its streams are at home at several. */
export function mergeAgents(lists: readonly (readonly Agent[])[]): Agent[] {
  const byName = new Map<string, Agent>()
  for (const agent of lists.flat()) {
    const name = `${agent.mountpoint}\0${agent.name}`
    const known = byName.get(name)
    if (known === undefined) {
      byName.set(name, agent)
      continue
    }
    const shown = !known.isOnline && agent.isOnline ? agent : known
    byName.set(name, {
      ...shown,
      services: shown.services.length > 0 ? shown.services : known.services,
      streams: known.streams + agent.streams,
      bytesUp: known.bytesUp + agent.bytesUp,
      bytesDown: known.bytesDown + agent.bytesDown,
    })
  }
  return [...byName.values()].toSorted(
    (a, b) => compareText(a.name, b.name) || compareText(a.mountpoint, b.mountpoint),
  )
}

/** Once each, by a name that is theirs everywhere. */
export function mergeById<Item extends { readonly id: string }>(lists: readonly (readonly Item[])[]): Item[] {
  return [...new Map(lists.flat().map((item) => [item.id, item])).values()]
}

/** By time; those of one pod stay in their order. */
export function mergePackets(lists: readonly (readonly TracePacket[])[]): TracePacket[] {
  return lists.flat().toSorted((a, b) => compareText(a.at, b.at))
}

export function compareText(a: string, b: string): number {
  if (a === b) return 0
  return a < b ? -1 : 1
}
