import { setImmediate } from 'node:timers/promises'
import type { Build } from './build.ts'

const PUBLISH = 3

/** What the broker takes for a connection. */
interface Receiver {
  data(chunk: Buffer): void
}

/** A client, and the transport between it and the broker, which takes and gives bytes at once. */
export class End {
  readonly peer = {
    ...{ address: '127.0.0.1', port: 1, addressSource: 'socket', socketAddress: '127.0.0.1' },
    ...{ listener: 'bench', transport: 'tcp' },
  }
  readonly pendingBytes = 0
  readonly #acknowledges: boolean
  #receiver: Receiver | undefined
  #owed: Buffer[] = []

  private constructor(acknowledges: boolean) {
    this.#acknowledges = acknowledges
  }

  static async connect(
    broker: Awaited<ReturnType<Build['startBroker']>>,
    { id, version, acknowledges }: { id: string; version: 4 | 5; acknowledges: boolean },
  ): Promise<End> {
    const end = new End(acknowledges)
    broker.accept(end)
    end.send(packet(0x10, text('MQTT'), Buffer.of(version, 2, 0, 0), noProperties(version), text(id)))
    await turns(20)
    return end
  }

  async subscribe(version: 4 | 5, topic: string, qos: number): Promise<void> {
    this.send(packet(0x82, Buffer.of(0, 1), noProperties(version), text(topic), Buffer.of(qos)))
    await turns(10)
  }

  send(bytes: Buffer): void {
    this.#receiver!.data(bytes)
  }

  /** PUBACK for all that has come. */
  acknowledge(): void {
    if (this.#owed.length === 0) return
    const bytes = Buffer.concat(this.#owed)
    this.#owed = []
    this.send(bytes)
  }

  // --- from the broker

  attach(receiver: Receiver): void {
    this.#receiver = receiver
  }

  write(bytes: Buffer): void {
    if (!this.#acknowledges) return
    for (let start = 0; start < bytes.length;) {
      let length = bytes[start + 1]!
      let body = start + 2
      if (length > 127) {
        length = (length & 127) | (bytes[start + 2]! << 7)
        body++
      }
      if (bytes[start]! >> 4 === PUBLISH) {
        const id = body + 2 + bytes.readUInt16BE(body)
        this.#owed.push(Buffer.of(0x40, 2, bytes[id]!, bytes[id + 1]!))
      }
      start = body + length
    }
  }

  writev(chunks: readonly Buffer[]): void {
    for (const chunk of chunks) this.write(chunk)
  }

  pause(): void {}
  resume(): void {}
  end(): void {}
  destroy(): void {}
}

export async function turns(count: number): Promise<void> {
  for (let i = 0; i < count; i++) await setImmediate()
}

export function text(value: string): Buffer {
  return Buffer.concat([Buffer.of(value.length >> 8, value.length & 255), Buffer.from(value)])
}

export function noProperties(version: 4 | 5): Buffer {
  return version === 5 ? Buffer.of(0) : Buffer.alloc(0)
}

/** Of less than 16,384 bytes. */
export function packet(first: number, ...parts: readonly Buffer[]): Buffer {
  const body = Buffer.concat(parts)
  const length =
    body.length < 128 ? Buffer.of(body.length) : Buffer.of((body.length & 127) | 128, body.length >> 7)
  return Buffer.concat([Buffer.of(first), length, body])
}
