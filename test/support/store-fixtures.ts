import type {
  PublishTarget,
  PublishWrite,
  QueueEntry,
  Store,
  StoredMessage,
  StoredSession,
  StoreLimits,
} from '../../src/store/contract.ts'

export const testLimits: StoreLimits = {
  queueMaxMessages: 1_000,
  queueMaxBytes: 1_000_000,
  retainedMaxMessages: 1_000,
  retainedMaxBytes: 1_000_000,
  maxInflight: 3,
}

export function message(topic: string, payload: string, more: Partial<StoredMessage> = {}): StoredMessage {
  return {
    topic,
    payload: Buffer.from(payload),
    qos: 1,
    retain: false,
    publisher: 'publisher',
    publishedAtMs: 1_000,
    expiresAtMs: 0,
    ...more,
  }
}

export function to(...sessions: StoredSession[]): PublishTarget[] {
  return sessions.map((session) => ({ session, qos: 1 }))
}

export interface Published {
  readonly seqs: readonly number[]
  readonly duplicate: boolean
}

/** `publish` as a promise. */
export function publish(store: Store, write: Partial<PublishWrite> & Pick<PublishWrite, 'message'>) {
  return new Promise<Published>((resolve, reject) => {
    store.publish({ targets: [], retain: false, ...write }, (error, seqs, duplicate) =>
      error === undefined ? resolve({ seqs, duplicate }) : reject(error),
    )
  })
}

export function release(store: Store, session: StoredSession, seq: number, bytes: number): Promise<void> {
  return new Promise((resolve, reject) =>
    store.release(session, seq, bytes, (error) => (error === undefined ? resolve() : reject(error))),
  )
}

export function releaseIncoming(store: Store, session: StoredSession, messageId: number): Promise<void> {
  return new Promise((resolve, reject) =>
    store.releaseIncoming(session, messageId, (error) => (error === undefined ? resolve() : reject(error))),
  )
}

/** Everything asked so far has been answered. */
export async function settled(store: Store): Promise<void> {
  await publish(store, { message: message('nobody', '') })
}

export async function wholeQueue(store: Store, session: StoredSession): Promise<QueueEntry[]> {
  const all: QueueEntry[] = []
  for (;;) {
    const more = await store.readQueue(session, all.at(-1)?.seq ?? 0, 7, 100_000)
    if (more.length === 0) return all
    all.push(...more)
  }
}

export async function payloads(store: Store, session: StoredSession): Promise<string[]> {
  const entries = await wholeQueue(store, session)
  return entries.map((entry) => entry.message?.payload.toString() ?? entry.state)
}
