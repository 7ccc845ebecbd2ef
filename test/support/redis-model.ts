/** What pods on one Redis are to have, the obvious way: one thing after the other, no pods' memories, no numbers of writes. */

export const bounds = { queueMaxMessages: 6, queueMaxBytes: 40 }

export interface ModelEntry {
  readonly seq: number
  readonly payload: string
  qos: 1 | 2
  isReleased: boolean
}

export interface ModelQueue {
  entries: ModelEntry[]
  lastSeq: number
}

export interface ModelSession extends ModelQueue {
  readonly subscriptions: Map<string, 1 | 2>
  readonly incoming: Set<number>
}

export interface ModelClaim {
  readonly pod: number
  readonly number: number
}

/** What each pod believes to hold, and what is true. */
export class RedisModel {
  readonly sessions = new Map<string, ModelSession>()
  readonly owners = new Map<string, ModelClaim>()
  /** By pod: session id → number. */
  readonly believed: Map<string, number>[] = []
  /** By pod: stored session id → number with which it writes to that. */
  readonly writing: Map<string, number>[] = []
  readonly wills = new Map<string, { readonly number: number; readonly text: string }>()
  readonly retained = new Map<string, string>()
  group: (ModelQueue & { readonly leases: Map<number, number> }) | undefined

  /** May this pod write to the session? If it may not, it learns that it does not hold what it believed to. */
  mayWrite(pod: number, id: string): boolean {
    const owner = this.owners.get(id)
    const number = this.writing[pod]?.get(id) ?? 0
    if (owner === undefined ? number === 0 : owner.pod === pod && owner.number === number) return true
    if (this.believed[pod]?.get(id) === number) {
      this.believed[pod].delete(id)
      this.writing[pod]?.delete(id)
    }
    return false
  }

  claim(pod: number, id: string, number: number, clean: boolean): void {
    this.owners.set(id, { pod, number })
    this.believed[pod]?.set(id, number)
    if (clean) {
      this.sessions.delete(id)
      for (const numbers of this.writing) numbers.delete(id)
      return
    }
    this.writing[pod]?.set(id, number)
    if (!this.sessions.has(id)) {
      this.sessions.set(id, { entries: [], lastSeq: 0, subscriptions: new Map(), incoming: new Set() })
    }
  }

  release(pod: number, id: string): void {
    const number = this.believed[pod]?.get(id)
    this.believed[pod]?.delete(id)
    if (this.writing[pod]?.get(id) === number) this.writing[pod]?.delete(id)
    const owner = this.owners.get(id)
    if (owner === undefined || owner.pod !== pod || owner.number !== number) return
    this.owners.delete(id)
    if (this.wills.get(id)?.number === number) this.wills.delete(id)
  }

  begin(pod: number): void {
    this.believed[pod] = new Map()
    this.writing[pod] = new Map()
    // Every pod has a member of it.
    this.group ??= { entries: [], lastSeq: 0, leases: new Map() }
  }

  /** Without a word, and buried by others. */
  die(pod: number): void {
    this.begin(pod)
    for (const [id, owner] of this.owners) if (owner.pod === pod) this.owners.delete(id)
    for (const [seq, holder] of this.group?.leases ?? []) if (holder === pod) this.group?.leases.delete(seq)
  }

  /** Sequence number, or 0: no room. */
  enqueue(queue: ModelQueue, payload: string, qos: 1 | 2): number {
    const bytes = queue.entries.reduce((sum, one) => sum + (one.isReleased ? 0 : one.payload.length), 0)
    const isFull =
      queue.entries.length >= bounds.queueMaxMessages || bytes + payload.length > bounds.queueMaxBytes
    if (isFull) return 0
    queue.entries.push({ seq: ++queue.lastSeq, payload, qos, isReleased: false })
    return queue.lastSeq
  }

  free(): number[] {
    return (this.group?.entries ?? [])
      .map(({ seq }) => seq)
      .filter((seq) => this.group?.leases.has(seq) === false)
  }
}
