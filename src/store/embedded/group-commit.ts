/** Writes that go to the disk together. */
export interface CommitBatch {
  readonly isEmpty: boolean
  /** Bytes that were put so far. */
  readonly bytes: number
  write(sync: boolean): Promise<void>
  /** Lets go of a batch that will not be written. */
  discard(): void
}

export interface CommitWrite<Batch> {
  /** False: may be answered before it has been synced. */
  readonly durable: boolean
  putInto(batch: Batch): void
  settle(error: Error | undefined): void
}

export interface GroupCommitOptions<Batch, Write> {
  /** Sync a batch that holds a durable write. */
  readonly sync: boolean
  begin(): Batch
  /** A commit failed: these writes, in order, are not known to be on the disk. No more are taken until `resume`. */
  onFailure(error: Error, writes: readonly Write[]): void
  /** A `settle` threw. */
  onFault(error: unknown): void
}

interface Group<Batch, Write> {
  readonly batch: Batch
  readonly writes: Write[]
  durable: boolean
}

/**
 * Group commit: writes of one turn of the event loop, and all that come while a commit is running, make up
 * the next commit. One sync of the disk answers for many writes, so the load makes the groups larger, not the
 * syncs more frequent. Writes are answered in the order in which they were added.
 *
 *   idle ──add──▶ gathering ──end of the turn──▶ committing ──▶ idle, or committing what came meanwhile
 *                                                   └──failed──▶ halted ──resume──▶ idle
 */
export class GroupCommit<Batch extends CommitBatch, Write extends CommitWrite<Batch>> {
  readonly #options: GroupCommitOptions<Batch, Write>
  #next: Group<Batch, Write> | undefined
  #running: Group<Batch, Write> | undefined
  #scheduled = false
  #halted = false
  #commits = 0

  constructor(options: GroupCommitOptions<Batch, Write>) {
    this.#options = options
  }

  get pendingWrites(): number {
    return (this.#next?.writes.length ?? 0) + (this.#running?.writes.length ?? 0)
  }

  get pendingBytes(): number {
    return (this.#next?.batch.bytes ?? 0) + (this.#running?.batch.bytes ?? 0)
  }

  get commits(): number {
    return this.#commits
  }

  /** Not while halted. What `putInto` throws is thrown, and the write is not added: it must throw before it puts. */
  add(write: Write): void {
    this.#next ??= { batch: this.#options.begin(), writes: [], durable: false }
    write.putInto(this.#next.batch)
    this.#next.writes.push(write)
    if (write.durable) this.#next.durable = true
    if (this.#running !== undefined || this.#scheduled) return
    this.#scheduled = true
    // Not a microtask: what other sockets have sent in this turn of the loop is to come along.
    setImmediate(() => {
      this.#scheduled = false
      this.#start()
    })
  }

  /** Takes writes again after a failure. */
  resume(): void {
    this.#halted = false
  }

  #start(): void {
    const group = this.#next
    if (group === undefined || this.#halted || this.#running !== undefined) return
    this.#next = undefined
    this.#running = group
    this.#write(group).then(
      () => this.#committed(group),
      (error: unknown) => this.#failed(group, error instanceof Error ? error : new Error(String(error))),
    )
  }

  async #write({ batch, durable }: Group<Batch, Write>): Promise<void> {
    if (batch.isEmpty) return batch.discard()
    await batch.write(durable && this.#options.sync)
    this.#commits++
  }

  #committed(group: Group<Batch, Write>): void {
    this.#running = undefined
    // First the next commit, then the answers to this one: the disk works while we do.
    this.#start()
    for (const write of group.writes) {
      try {
        write.settle(undefined)
      } catch (error) {
        this.#options.onFault(error)
      }
    }
  }

  #failed(group: Group<Batch, Write>, error: Error): void {
    const later = this.#next
    this.#halted = true
    this.#running = undefined
    this.#next = undefined
    later?.batch.discard()
    this.#options.onFailure(error, [...group.writes, ...(later?.writes ?? [])])
  }
}
