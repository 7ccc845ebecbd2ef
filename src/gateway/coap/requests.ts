import { DoorError, type DoorClient, type DoorMessage } from '../../broker/door/contract.ts'
import { hasWildcard } from '../../broker/topics.ts'
import type { CoapConfig } from '../../config/coap-schema.ts'
import { answerOf, CoapRefusal, plainAnswer, refusalOf, type Answer } from './answer.ts'
import { blockOption, cutBlock, MAX_BLOCK_BYTES, MIN_BLOCK_BYTES, type Block } from './block.ts'
import type { Endpoint } from './endpoint.ts'
import { Code, encodeMessage, NO_BYTES, type CoapMessage, type CoapOption } from './message.ts'
import { bodyOf, Observation } from './observation.ts'
import { OptionNumber, uintOption } from './options.ts'
import { readRequest, type CoapRequest } from './request.ts'
import type { Session } from './session.ts'
import type { Sessions } from './sessions.ts'
import { tooLarge, type Body, type Downloads, type Uploads } from './transfers.ts'
import { Unproven, type Trust } from './trust.ts'

export interface RequestsOptions {
  readonly config: CoapConfig
  readonly sessions: Sessions
  readonly uploads: Uploads
  readonly downloads: Downloads
  failed(error: unknown): void
}

/** What each request does in the broker, and what it is answered with. */
export class Requests {
  readonly #options: RequestsOptions

  constructor(options: RequestsOptions) {
    this.#options = options
  }

  /** Undefined: nothing is done before the address is known to be true, if it may prove that. Never rejects. */
  async handle(message: CoapMessage, endpoint: Endpoint, trust: Trust): Promise<Answer | undefined> {
    try {
      return await this.#handle(message, endpoint, trust)
    } catch (error) {
      if (error instanceof Unproven) return undefined
      if (error instanceof CoapRefusal) return answerOf(error)
      if (error instanceof DoorError) return answerOf(refusalOf(error))
      this.#options.failed(error)
      return plainAnswer(Code.internalServerError)
    }
  }

  async #handle(message: CoapMessage, endpoint: Endpoint, trust: Trust): Promise<Answer> {
    const { config, sessions } = this.#options
    const request = readRequest(message, config.pathPrefix)
    if (request.method === 'discover') return this.#discover()
    // Whom it costs nothing to tell: before a session is opened.
    const sizeBytes = Math.max(request.size1 ?? 0, request.payload.length)
    if (request.method === 'publish' && sizeBytes > config.maxPayloadBytes)
      throw tooLarge(config.maxPayloadBytes)
    if (request.method === 'forget') this.#forget(message.token, endpoint)

    const session = await sessions.obtain(endpoint, request.credentials, trust)
    try {
      switch (request.method) {
        case 'publish':
          return await this.#publish(session, request, trust)
        case 'delete':
          await session.client.publish({
            topic: request.topic,
            payload: NO_BYTES,
            qos: request.qos,
            retain: true,
          })
          return plainAnswer(Code.deleted)
        case 'observe':
          // Further blocks of what was observed are read (RFC 7959, 2.6).
          return (request.block2 === undefined || request.block2.num === 0) && mayObserve(request, trust)
            ? await this.#observe(session, request, message.token)
            : await this.#read(session, request, message, trust)
        case 'read':
        case 'forget':
          return await this.#read(session, request, message, trust)
        default:
          return request.method satisfies never
      }
    } finally {
      session.release()
    }
  }

  async #publish(session: Session, request: CoapRequest, trust: Trust): Promise<Answer> {
    const { topic, qos, retain, block1 } = request
    const payload = block1 === undefined ? request.payload : this.#assemble(session, request, block1, trust)
    if (payload === undefined) return plainAnswer(Code.continue, [blockOption(OptionNumber.block1, block1!)])
    await session.client.publish({ topic, payload, qos, retain, ...request.description })
    return plainAnswer(Code.changed, block1 && [blockOption(OptionNumber.block1, block1)])
  }

  #assemble(
    session: Session,
    request: CoapRequest,
    block: Block,
    { maxBytes, mayProve }: Trust,
  ): Buffer | undefined {
    const { topic, qos, retain, requestTag, payload } = request
    // A place that is kept for a while: not for whoever forges addresses.
    if (mayProve && block.hasMore && block.num === 0) throw new Unproven()
    const name = `${requestTag} ${qos} ${retain} ${topic}`
    return this.#options.uploads.take(
      session.key,
      name,
      block,
      payload,
      performance.now(),
      maxBytes === Infinity,
    )
  }

  async #read(
    session: Session,
    request: CoapRequest,
    message: CoapMessage,
    { maxBytes, mayProve }: Trust,
  ): Promise<Answer> {
    const { topic, eTags, method } = request
    const key = `${session.key} ${topic}`
    const asked = request.block2 ?? { num: 0, hasMore: false, sizeBytes: MAX_BLOCK_BYTES }
    const isLater = asked.num > 0
    const body =
      (isLater ? this.#options.downloads.get(key, performance.now()) : undefined) ??
      (await readBody(session.client, request))
    // Who ends an observation asks for its state as well, and does not mind if there is none.
    if (body === undefined && method === 'forget') return plainAnswer(Code.content)
    if (body === undefined) throw new CoapRefusal(Code.notFound, 'nothing is retained here')

    const eTag: CoapOption = { number: OptionNumber.eTag, value: body.eTag }
    // Nobody knows how long a retained message will stay: another one may take its place before it expires.
    const options = [eTag, ...body.format, uintOption(OptionNumber.maxAge, 0)]
    if (eTags.some((known) => known.equals(body.eTag))) return plainAnswer(Code.valid, options)
    const fits = (answer: Answer): boolean =>
      maxBytes === Infinity || encodeMessage({ ...message, ...answer }).length <= maxBytes
    if (request.block2 === undefined && body.bytes.length <= MAX_BLOCK_BYTES) {
      const whole = { code: Code.content, options, payload: body.bytes }
      if (fits(whole)) return whole
    }
    let block = asked
    let answer = blockAnswer(body, block, options)
    while (!fits(answer)) {
      if (mayProve) throw new Unproven()
      if (block.sizeBytes === MIN_BLOCK_BYTES) break
      // A smaller one from the same place on (RFC 7959, 2.4).
      block = { ...block, num: block.num * 2, sizeBytes: block.sizeBytes / 2 }
      answer = blockAnswer(body, block, options)
    }
    if (!isLater && answer.payload.length < body.bytes.length)
      this.#options.downloads.keep(key, body, performance.now())
    return answer
  }

  async #observe(session: Session, request: CoapRequest, token: Buffer): Promise<Answer> {
    const { topic, qos, block2 } = request
    const observation = new Observation({
      token: Buffer.from(token),
      filter: topic,
      // At 2 there is nothing more to promise: who is slow gets the newest alone.
      qos: qos === 0 ? 0 : 1,
      downloadKey: `${session.key} ${topic}`,
      blockBytes: block2?.sizeBytes ?? MAX_BLOCK_BYTES,
      maxQueued: this.#options.config.maxQueuedNotifications,
    })
    const { code, options, payload } = await session.observe(observation)
    return { code: code as Code, options, payload }
  }

  #forget(token: Buffer, endpoint: Endpoint): void {
    for (const session of this.#options.sessions.of(endpoint)) {
      const observation = session.find(token)
      if (observation !== undefined) session.forget(observation)
    }
  }

  /** RFC 6690, for tools that ask what is here: no more than the prefix, which is no secret. */
  #discover(): Answer {
    const contentFormat = uintOption(OptionNumber.contentFormat, LINK_FORMAT)
    const payload = Buffer.from(`<${this.#options.config.pathPrefix}/>;rt="tunnelmq.topics"`)
    return { code: Code.content, options: [contentFormat], payload }
  }
}

const LINK_FORMAT = 40

/** An observer gets more than it asks for: to an address that may be forged, nothing is sent by itself. */
function mayObserve({ topic }: CoapRequest, { maxBytes, mayProve }: Trust): boolean {
  if (maxBytes === Infinity) return true
  if (mayProve) throw new Unproven()
  if (hasWildcard(topic)) throw new CoapRefusal(Code.forbidden, 'who observes answers pings (RFC 7252, 4.3)')
  // Not observed, but answered all the same (RFC 7641, 4.1).
  return false
}

function blockAnswer(body: Body, block: Block, options: readonly CoapOption[]): Answer {
  const cut = cutBlock(body.bytes, block)
  if (cut === undefined) throw new CoapRefusal(Code.badRequest, 'it has no such block')
  const size = block.num === 0 ? [uintOption(OptionNumber.size2, body.bytes.length)] : []
  return { code: Code.content, options: [...options, cut.option, ...size], payload: cut.payload }
}

async function readBody(client: DoorClient, { topic, method }: CoapRequest): Promise<Body | undefined> {
  if (hasWildcard(topic)) {
    if (method === 'forget') return undefined
    throw new CoapRefusal(Code.badRequest, 'to read, name one topic; wildcards can be observed')
  }
  const message: DoorMessage | undefined = await client.read(topic)
  return message && bodyOf(message)
}
