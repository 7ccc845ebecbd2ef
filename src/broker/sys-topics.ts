import { Message } from './message.ts'
import { topicMatches } from './topics.ts'

/** Totals since the start, and what is now; read once an interval. */
export interface SysFigures {
  readonly clientsConnected: number
  readonly clientsStored: number
  readonly clientsExpired: number
  readonly subscriptions: number
  readonly sharedSubscriptions: number
  readonly packetsReceived: number
  readonly packetsSent: number
  readonly publishReceived: number
  readonly publishSent: number
  readonly publishDropped: number
  readonly bytesReceived: number
  readonly bytesSent: number
  readonly connectionsAccepted: number
  readonly storedMessages: number
  readonly storedBytes: number
  readonly retainedMessages: number
  /** Of this pod alone, by name: whether each is connected. */
  readonly bridges: readonly { readonly name: string; readonly isUp: boolean }[]
}

/** Figures that are numbers. */
type Figure = Exclude<keyof SysFigures, 'bridges'>

const MINUTE_MS = 60_000
/** Averages over 1, 5 and 15 minutes, as mosquitto names them. */
const WINDOWS = [1, 5, 15] as const

/** mosquitto's names of the loads, and what each is the rate of. */
const LOADS = {
  'messages/received': 'packetsReceived',
  'messages/sent': 'packetsSent',
  'publish/received': 'publishReceived',
  'publish/sent': 'publishSent',
  'publish/dropped': 'publishDropped',
  'bytes/received': 'bytesReceived',
  'bytes/sent': 'bytesSent',
  connections: 'connectionsAccepted',
} as const satisfies Record<string, Figure>

/**
 * `$SYS/broker/...`, with the names and units of mosquitto (mosquitto(8), BROKER STATUS): retained, QoS 0,
 * in memory only. Loads are exponential moving averages in units a minute.
 */
export class SysTopics {
  readonly #values = new Map<string, string>()
  readonly #loads = new Map<string, number[]>()
  readonly #version: string
  readonly #startedAtMs: number
  #last: SysFigures | undefined
  #lastMs: number
  #maxClients = 0

  constructor(version: string, nowMs: number) {
    this.#version = version
    this.#startedAtMs = this.#lastMs = nowMs
  }

  /** The topics whose values have changed. */
  update(figures: SysFigures, nowMs: number): Message[] {
    const clientsTotal = figures.clientsStored
    this.#maxClients = Math.max(this.#maxClients, figures.clientsConnected)
    const values: [string, string | number][] = [
      ['version', `tunnelmq version ${this.#version}`],
      ['uptime', `${Math.floor((nowMs - this.#startedAtMs) / 1_000)} seconds`],
      ['clients/connected', figures.clientsConnected],
      ['clients/active', figures.clientsConnected],
      ['clients/disconnected', Math.max(0, clientsTotal - figures.clientsConnected)],
      ['clients/inactive', Math.max(0, clientsTotal - figures.clientsConnected)],
      ['clients/total', clientsTotal],
      ['clients/maximum', this.#maxClients],
      ['clients/expired', figures.clientsExpired],
      ['subscriptions/count', figures.subscriptions],
      ['shared_subscriptions/count', figures.sharedSubscriptions],
      ['messages/received', figures.packetsReceived],
      ['messages/sent', figures.packetsSent],
      ['messages/stored', figures.storedMessages],
      ['store/messages/count', figures.storedMessages],
      ['store/messages/bytes', figures.storedBytes],
      ['publish/messages/received', figures.publishReceived],
      ['publish/messages/sent', figures.publishSent],
      ['publish/messages/dropped', figures.publishDropped],
      ['bytes/received', figures.bytesReceived],
      ['bytes/sent', figures.bytesSent],
      ['retained messages/count', figures.retainedMessages],
      ...figures.bridges.map(({ name, isUp }): [string, number] => [`bridge/${name}/state`, isUp ? 1 : 0]),
    ]
    const changed: Message[] = []
    for (const [name, value] of values) this.#set(name, String(value), nowMs, changed)
    this.#updateLoads(figures, nowMs, changed)
    return changed
  }

  #updateLoads(figures: SysFigures, nowMs: number, changed: Message[]): void {
    const elapsedMs = nowMs - this.#lastMs
    const last = this.#last
    this.#last = figures
    this.#lastMs = nowMs
    if (last === undefined || elapsedMs <= 0) return
    for (const [name, field] of Object.entries(LOADS)) {
      const perMinute = ((figures[field] - last[field]) * MINUTE_MS) / elapsedMs
      const averages = this.#loads.get(name) ?? WINDOWS.map(() => 0)
      WINDOWS.forEach((minutes, index) => {
        const keep = Math.exp(-elapsedMs / (minutes * MINUTE_MS))
        const average = perMinute + keep * ((averages[index] ?? 0) - perMinute)
        averages[index] = average
        this.#set(`load/${name}/${minutes}min`, average.toFixed(2), nowMs, changed)
      })
      this.#loads.set(name, averages)
    }
  }

  #set(name: string, value: string, nowMs: number, changed: Message[]): void {
    const topic = `$SYS/broker/${name}`
    if (this.#values.get(topic) === value) return
    this.#values.set(topic, value)
    changed.push(createMessage(topic, value, false, nowMs))
  }

  /** For a new subscription. */
  retainedMatching(filter: string): Message[] {
    if (!filter.startsWith('$SYS')) return []
    const nowMs = Date.now()
    return [...this.#values]
      .filter(([topic]) => topicMatches(filter, topic))
      .map(([topic, value]) => createMessage(topic, value, true, nowMs))
  }
}

function createMessage(topic: string, value: string, retain: boolean, nowMs: number): Message {
  return new Message(topic, Buffer.from(value), 0, retain, '', nowMs, 0)
}
