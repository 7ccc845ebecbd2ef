/*
   512 publishers, each with one message under way               one folder of the operating system's temp
  ┌──────────────────────────────────────────────┐             ┌──────────────────────────────┐
  │ publish 100 B to one of 50 sessions ─────────┼────────────▶│ embedded store: group commit │
  │ done ─▶ acknowledge the entry, publish again │◀────────────┼ LevelDB, with and without    │
  └──────────────────────────────────────────────┘             │ sync                         │
                                                               └──────────────────────────────┘
   No broker, no network: what the store alone can do. The first fifth is warm-up, and not counted.

   npm run build && npx tsc -p tsconfig.bench.json && node bench/dist/store.js [folder]
*/
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describeMachine } from './machine.ts'

const MESSAGES = 500_000
const PUBLISHERS = 512
const SESSIONS = 50
const PAYLOAD_BYTES = 100

interface Session {
  readonly queuedCount: number
}

/** As much of the store as is used here; the program measures the build in dist. */
interface Store {
  open(): Promise<void>
  close(): Promise<void>
  createSession(kind: 'client', id: string): Promise<Session>
  publish(write: object, done: (error: Error | undefined, seqs: readonly number[]) => void): void
  acknowledge(session: Session, seq: number, payloadBytes: number): void
  stats(): { readonly commits: number; readonly queuedMessages: number }
}
interface StoreModule {
  readonly createEmbeddedStore: (options: object) => Store
}
interface LogModule {
  readonly createSilentLog: () => unknown
}

const dist = new URL('../../dist/', import.meta.url)
const { createEmbeddedStore } = (await import(new URL('store/embedded/store.js', dist).href)) as StoreModule
const { createSilentLog } = (await import(new URL('log.js', dist).href)) as LogModule

const folder = mkdtempSync(join(process.argv[2] ?? tmpdir(), 'tunnelmq-bench-store-'))
const payload = Buffer.alloc(PAYLOAD_BYTES, 'x')

function create(name: string, sync: boolean): Store {
  const limits = {
    queueMaxMessages: 1e6,
    queueMaxBytes: 1e9,
    retainedMaxMessages: 1e6,
    retainedMaxBytes: 1e9,
    maxInflight: 20,
  }
  const path = join(folder, name)
  return createEmbeddedStore({ path, sync, cacheBytes: 8_388_608, limits, log: createSilentLog() })
}

const write = (session: Session): object => ({
  message: {
    topic: 'bench/topic',
    payload,
    qos: 1,
    retain: false,
    publisher: 'bench',
    publishedAtMs: Date.now(),
    expiresAtMs: 0,
  },
  targets: [{ session, qos: 1 }],
  retain: false,
})

async function createSessions(store: Store, count: number): Promise<Session[]> {
  return Promise.all(Array.from({ length: count }, (_, i) => store.createSession('client', `client-${i}`)))
}

async function publishAndAcknowledge(sync: boolean): Promise<string> {
  const store = create(sync ? 'synced' : 'unsynced', sync)
  await store.open()
  const sessions = await createSessions(store, SESSIONS)
  const warmUp = MESSAGES / 5
  let asked = 0
  let answered = 0
  let startedMs = 0
  let startedCpu = process.cpuUsage()
  await new Promise<void>((resolve, reject) => {
    const publishOne = (): void => {
      const session = sessions[asked++ % SESSIONS] as Session
      store.publish(write(session), (error, seqs) => {
        if (error !== undefined) return reject(error)
        store.acknowledge(session, seqs[0] ?? 0, PAYLOAD_BYTES)
        answered++
        if (answered === warmUp) {
          startedMs = performance.now()
          startedCpu = process.cpuUsage()
        }
        if (answered === MESSAGES) resolve()
        else if (asked < MESSAGES) publishOne()
      })
    }
    for (let i = 0; i < PUBLISHERS; i++) publishOne()
  })
  const seconds = (performance.now() - startedMs) / 1000
  const cpu = process.cpuUsage(startedCpu)
  const counted = MESSAGES - warmUp
  const { commits } = store.stats()
  await store.close()
  const perMessageUs = ((cpu.user + cpu.system) / counted).toFixed(1)
  const rssMib = Math.round(process.memoryUsage.rss() / 2 ** 20)
  return (
    `${Math.round(counted / seconds)} puts/s and as many deletes, ${(MESSAGES / commits).toFixed(0)} a commit, ` +
    `${perMessageUs} us CPU each, ${rssMib} MiB`
  )
}

async function openMany(): Promise<string> {
  const store = create('large', false)
  await store.open()
  const sessions = await createSessions(store, 10_000)
  for (let i = 0; i < 20; i++) {
    await Promise.all(
      sessions.map(
        (session) =>
          new Promise<void>((resolve, reject) => {
            store.publish(write(session), (error) => (error === undefined ? resolve() : reject(error)))
          }),
      ),
    )
  }
  await store.close()
  const again = create('large', false)
  const startedMs = performance.now()
  await again.open()
  const ms = Math.round(performance.now() - startedMs)
  const { queuedMessages } = again.stats()
  await again.close()
  return `${ms} ms to open 10,000 sessions and ${queuedMessages} queue entries`
}

try {
  const machine = describeMachine(0, folder)
  const where = `${machine.coreCount} x ${machine.cpu}, Node ${machine.node}, sync ${machine.diskSyncUs} us`
  process.stdout.write(`${new Date().toISOString().slice(0, 10)}  ${where}\n`)
  process.stdout.write(`synced    ${await publishAndAcknowledge(true)}\n`)
  process.stdout.write(`unsynced  ${await publishAndAcknowledge(false)}\n`)
  process.stdout.write(`open      ${await openMany()}\n`)
} finally {
  rmSync(folder, { recursive: true, force: true })
}
