import type { CoapConfig } from '../../config/coap-schema.ts'
import { plainAnswer, type Answer } from './answer.ts'
import type { CoapCounts } from './counts.ts'
import { createEchoValues } from './echo.ts'
import type { Endpoint } from './endpoint.ts'
import { Code, type CoapMessage } from './message.ts'
import { OptionNumber } from './options.ts'
import { Places } from './places.ts'
import type { Trust } from './trust.ts'

/** An answer to an address that may be forged is so many times what it took to ask (RFC 9175, 2.4), ... */
const MAX_AMPLIFICATION = 3
/** ... both with their headers of UDP and IPv4. */
const HEADERS_BYTES = 28
const TRUE_ADDRESS: Trust = { maxBytes: Infinity, mayProve: false }

/** Whether the address that a request comes from is that of who has sent it. */
export class AddressCheck {
  readonly #kind: CoapConfig['addressCheck']
  readonly #counts: CoapCounts['addressChecks']
  readonly #echo = createEchoValues()
  /** Of requests that wait for the answer to a ping. They take nobody's place who does not have to. */
  readonly #waiting: Places

  constructor({ addressCheck, maxRequests }: CoapConfig, counts: CoapCounts['addressChecks']) {
    this.#kind = addressCheck
    this.#counts = counts
    this.#waiting = new Places(maxRequests)
  }

  get waitingCount(): number {
    return this.#waiting.count
  }

  /** Before anybody is asked. `requestBytes`: of the datagram. */
  trustOf(message: CoapMessage, endpoint: Endpoint, requestBytes: number): Trust {
    if (this.#kind === 'echo') this.#takeEcho(message, endpoint)
    if (this.#kind === 'off' || endpoint.isProven) return TRUE_ADDRESS
    const maxBytes = MAX_AMPLIFICATION * (requestBytes + HEADERS_BYTES) - HEADERS_BYTES
    return { maxBytes, mayProve: true }
  }

  /** What is known after a ping; or an answer with which the client is to ask again. */
  async ask(endpoint: Endpoint, { maxBytes }: Trust): Promise<Trust | Answer> {
    if (this.#kind === 'echo') return this.#askForEcho(endpoint)
    return (await this.#ping(endpoint)) ? TRUE_ADDRESS : { maxBytes, mayProve: false }
  }

  /** Where too many wait for the answer to theirs, nobody is asked: it may be the work of a forger. */
  async #ping(endpoint: Endpoint): Promise<boolean> {
    if (this.#waiting.fullFor(endpoint.address) !== undefined) return false
    this.#counts.asked++
    const isTrue = await this.#waiting.during(endpoint.address, () => endpoint.prove())
    if (isTrue) this.#counts.passed++
    return isTrue
  }

  #takeEcho({ options }: CoapMessage, endpoint: Endpoint): void {
    const value = options.find(({ number }) => number === OptionNumber.echo)?.value
    if (value === undefined || endpoint.isProven) return
    if (!this.#echo.isFresh(value, endpoint.key, performance.now())) return
    endpoint.isProven = true
    this.#counts.passed++
  }

  /** RFC 9175, 2.3. */
  #askForEcho({ key }: Endpoint): Answer {
    this.#counts.asked++
    const value = this.#echo.valueFor(key, performance.now())
    return plainAnswer(Code.unauthorized, [{ number: OptionNumber.echo, value }])
  }
}
