import { Connection, type Role } from './connection.ts'
import { pause } from './crowd.ts'
import {
  packetIdOf,
  PacketType,
  propertyBytes,
  publishTemplate,
  readSequence,
  readUint16,
  writeSequence,
} from './packets.ts'
import type { LoadResult, RetainedPlan, Target } from './plan.ts'
import { TurnEnd } from './turn-end.ts'

const WINDOW_COUNT = 100
const KEEPALIVE_SECONDS = 60
const POLL_MS = 2
const DEADLINE_MS = 20_000
/** Aedes acknowledges before it stores; what it still has to store must not count against the subscription. */
const SETTLE_MS = 200
const RETAIN_FLAG = 0x01
const QOS_BITS = 0x06

/** Time from one SUBSCRIBE to `#` until every retained message has come, each once. */
export async function measureRetained(plan: RetainedPlan, target: Target): Promise<LoadResult> {
  const turnEnd = new TurnEnd()
  const disconnectReasons: string[] = []
  const open = async (clientId: string, role: Role): Promise<Connection> =>
    await Connection.open({
      port: target.port,
      connect: {
        clientId,
        clean: true,
        keepaliveSeconds: KEEPALIVE_SECONDS,
        username: target.username,
        password: target.password,
        version: target.version,
      },
      role,
      turnEnd,
      onDisconnect: (reason) => disconnectReasons.push(`${clientId}: ${reason}`),
    })

  const source = new RetainedSource(plan)
  const publishStartedMs = performance.now()
  source.start(await open('bench-retain', source))
  await until(() => source.acknowledgedCount === plan.messageCount)
  const publishMs = performance.now() - publishStartedMs
  await pause(SETTLE_MS)

  const tally = new RetainedTally(plan.messageCount)
  const subscriber = await open('bench-retained-sub', tally)
  const subscribedMs = performance.now()
  // A broker may send retained messages before the SUBACK, so the clock starts at the SUBSCRIBE. [MQTT-3.8.4-3]
  await subscriber.subscribe('#', 0)
  await until(() => tally.distinctCount === plan.messageCount)
  return {
    figures: {
      retainedPublishedPerSecond: (source.acknowledgedCount * 1000) / publishMs,
      ...(tally.firstMs !== undefined && { retainedFirstMs: tally.firstMs - subscribedMs }),
      ...(tally.distinctCount === plan.messageCount && { retainedAllMs: tally.lastMs - subscribedMs }),
    },
    faults: {
      lost: plan.messageCount - tally.distinctCount,
      duplicated: tally.duplicatedCount,
      outOfOrder: 0, // the order of retained messages of different topics is free
      misrouted: tally.misroutedCount,
      unacknowledged: plan.messageCount - source.acknowledgedCount,
      disconnected: disconnectReasons.length,
    },
    disconnectReasons,
  }
}

/** Publishes one retained message to each topic, at QoS 1, a window at a time. */
class RetainedSource implements Role {
  acknowledgedCount = 0
  readonly #plan: RetainedPlan
  #sentCount = 0

  constructor(plan: RetainedPlan) {
    this.#plan = plan
  }

  start(connection: Connection): void {
    for (let sent = 0; sent < WINDOW_COUNT; sent++) this.#sendNext(connection)
  }

  publish(): void {
    throw new Error('the publisher of retained messages was sent one')
  }

  acknowledge(connection: Connection): void {
    this.acknowledgedCount++
    this.#sendNext(connection)
  }

  #sendNext(connection: Connection): void {
    const sequence = this.#sentCount
    if (sequence === this.#plan.messageCount) return
    this.#sentCount++
    const topic = `bench/retained/${sequence % 100}/${sequence}`
    const template = publishTemplate(
      { topic, qos: 1, retain: true, payloadBytes: this.#plan.payloadBytes, version: connection.version },
      0,
    )
    template.bytes.writeUInt16BE(packetIdOf(sequence), template.packetIdAt)
    writeSequence(template.bytes, template.payloadAt, sequence)
    connection.write(template.bytes)
  }
}

/** Ticks off each message, and notes when the first and the last one came. */
class RetainedTally implements Role {
  firstMs: number | undefined
  lastMs = 0
  distinctCount = 0
  duplicatedCount = 0
  misroutedCount = 0
  readonly #seen: Uint8Array

  constructor(messageCount: number) {
    this.#seen = new Uint8Array(messageCount)
  }

  publish(connection: Connection, header: number, bytes: Buffer, bodyStart: number): void {
    let payloadAt = bodyStart + 2 + readUint16(bytes, bodyStart)
    // The subscription is for QoS 0, but bare Aedes sends what was retained at QoS 1 at QoS 1.
    if ((header & QOS_BITS) !== 0) {
      connection.queueAck(PacketType.puback, readUint16(bytes, payloadAt))
      payloadAt += 2
    }
    if (connection.version === 5) payloadAt += propertyBytes(bytes, payloadAt)
    const sequence = readSequence(bytes, payloadAt)
    // Without the flag it would be a live message. [MQTT-3.3.1-8]
    if ((header & RETAIN_FLAG) === 0 || sequence >= this.#seen.length) this.misroutedCount++
    else if (this.#seen[sequence] === 1) this.duplicatedCount++
    else {
      this.#seen[sequence] = 1
      this.distinctCount++
      this.lastMs = performance.now()
      this.firstMs ??= this.lastMs
    }
  }

  acknowledge(): void {}
}

async function until(isDone: () => boolean): Promise<void> {
  const deadlineMs = performance.now() + DEADLINE_MS
  while (!isDone() && performance.now() < deadlineMs) await pause(POLL_MS)
}
