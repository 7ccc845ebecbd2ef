import { isUtf8 } from 'node:buffer'
import type { ServerResponse } from 'node:http'
import type { DoorClient, DoorError, DoorMessage } from '../../broker/door/contract.ts'

/** Bytes that may wait for a slow reader before the broker is asked to hold back; what it drops then is QoS 0. */
const HIGH_WATER_BYTES = 65_536
/** Messages that wait for their subscription to be granted; QoS 0 beyond it is dropped, QoS 1 and 2 have a window. */
const MAX_EARLY_COUNT = 1_000
/** Between attempts of a browser whose stream was lost. */
const RETRY_MS = 3_000

/**
 * One answer that goes on: messages as server-sent events (https://html.spec.whatwg.org, 9.2).
 *
 *   waiting ──begin──▶ open ──end──▶ ended
 *
 * Messages that come before the subscription is granted wait, and are gone if it is not.
 */
export class EventStream {
  readonly #response: ServerResponse
  readonly #client: () => DoorClient | undefined
  #phase: 'waiting' | 'open' | 'ended' = 'waiting'
  #early: { readonly message: DoorMessage; readonly taken: () => void }[] = []
  #isHeld = false
  #endedBy: DoorError | undefined

  constructor(response: ServerResponse, client: () => DoorClient | undefined) {
    this.#response = response
    this.#client = client
    response.on('drain', () => this.#flow())
  }

  get isOpen(): boolean {
    return this.#phase === 'open'
  }

  /** The subscription is granted. @throws {DoorError} It was taken away again meanwhile. */
  begin(): void {
    if (this.#endedBy !== undefined) throw this.#endedBy
    this.#phase = 'open'
    this.#response.writeHead(200, {
      'Content-Type': 'text/event-stream; charset=utf-8',
      // nginx holds answers back otherwise.
      'X-Accel-Buffering': 'no',
      Connection: 'close',
    })
    this.#write(`retry: ${RETRY_MS}\n\n`)
    const early = this.#early
    this.#early = []
    for (const { message, taken } of early) this.message(message, taken)
  }

  message(message: DoorMessage, taken: () => void): void {
    if (this.#phase === 'waiting') {
      if (message.qos > 0 || this.#early.length < MAX_EARLY_COUNT) this.#early.push({ message, taken })
    } else if (this.#phase === 'open') this.#write(`event: message\ndata: ${eventData(message)}\n\n`, taken)
  }

  /** Keeps it alive through proxies, and finds out that nobody reads any more. */
  ping(): void {
    if (this.#phase === 'open' && !this.#isHeld) this.#write(': ping\n\n')
  }

  /** Says why, and ends. */
  end(reason: DoorError): void {
    const { failure, message } = reason
    if (this.#phase === 'open') {
      this.#response.end(`event: closed\ndata: ${JSON.stringify({ reason: failure, detail: message })}\n\n`)
    }
    this.#phase = 'ended'
    this.#endedBy ??= reason
    this.#early = []
  }

  #write(text: string, taken?: () => void): void {
    this.#response.write(text, (error) => {
      if (error === undefined || error === null) taken?.()
    })
    if (this.#isHeld || this.#response.writableLength < HIGH_WATER_BYTES) return
    this.#isHeld = true
    this.#client()?.hold()
  }

  #flow(): void {
    if (!this.#isHeld) return
    this.#isHeld = false
    this.#client()?.flow()
  }
}

/** One line: JSON has no line breaks of its own. */
function eventData({ topic, qos, retain, payload, properties, expirySeconds }: DoorMessage): string {
  const content = isUtf8(payload)
    ? { payload: payload.toString() }
    : { payloadBase64: payload.toString('base64') }
  const { contentType, responseTopic, correlationData, userProperties } = properties ?? {}
  const correlationDataBase64 = correlationData?.toString('base64')
  const described = { contentType, responseTopic, correlationDataBase64, userProperties, expirySeconds }
  return JSON.stringify({ topic, qos, retain, ...content, ...described })
}
