import type { WebhookConfig } from '../../config/webhook-schema.ts'
import type { BrokerCounters, WebhookEndpointCounters, WebhookFault } from '../../counters.ts'
import { createHttpClient, HttpFailure, type HttpFault, type HttpResponse } from '../http-client.ts'
import type { HandlerLog } from '../log.ts'
import { Breaker } from './breaker.ts'

/** No endpoint has given an answer that can be used. The message is for the log, and has no secrets. */
export class ServiceFailure extends Error {
  override name = 'ServiceFailure'
}

/** What came back: `read` has made sense of it. */
export interface ServiceAnswer<Answer> {
  readonly answer: Answer
  readonly headers: HttpResponse['headers']
}

export interface ServiceRequest {
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
}

/** The service behind its endpoints. */
export interface Service {
  /** Hosts, for people. */
  readonly name: string
  /** `read` throws when the answer means nothing. Rejects with {@link ServiceFailure}. */
  ask<Answer>(request: ServiceRequest, read: (text: string) => Answer): Promise<ServiceAnswer<Answer>>
  /** Nobody reads what it answers, with any status 2xx. Rejects with {@link ServiceFailure}. */
  tell(request: ServiceRequest): Promise<void>
  reload(): Promise<void>
  close(): void
}

export interface ServiceOptions {
  readonly config: WebhookConfig
  readonly counters: Pick<BrokerCounters, 'webhookEndpoint'>
  readonly handler: string
  readonly log: HandlerLog
  /** Monotonic milliseconds. */
  readonly now?: () => number
}

interface Endpoint {
  readonly url: URL
  readonly breaker: Breaker
  readonly counters: WebhookEndpointCounters
}

const faultOf: Readonly<Record<HttpFault, WebhookFault>> = {
  connection: 'connection',
  timeout: 'timeout',
  queued: 'timeout',
  'broken-off': 'broken-off',
  'too-large': 'answer',
}

/** Rejects with TMQ_FILE when a certificate cannot be read. */
export async function createService(options: ServiceOptions): Promise<Service> {
  const { config, counters, handler, log } = options
  const now = options.now ?? (() => performance.now())
  const client = await createHttpClient(config)
  const endpoints = config.endpoints.map((text): Endpoint => {
    const url = new URL(text)
    const figures = counters.webhookEndpoint(handler, url.host)
    const breaker = new Breaker({
      ...config.breaker,
      onChange(isOpen) {
        figures.leftOut += isOpen ? 1 : -1
        const fields = { handler, endpoint: url.host }
        if (isOpen) log.error({ ...fields, cooldownMs: config.breaker.cooldownMs }, 'endpoint left out')
        else log.info(fields, 'endpoint is back')
      },
    })
    return { url, breaker, counters: figures }
  })
  let turn = 0

  function* inOrder(): Generator<Endpoint> {
    const start = config.order === 'first' ? 0 : turn++ % endpoints.length
    for (let index = 0; index < endpoints.length; index++)
      yield endpoints[(start + index) % endpoints.length]!
  }

  async function send<Result>(
    request: ServiceRequest,
    take: (response: HttpResponse) => Result,
  ): Promise<Result> {
    let failure = 'every endpoint has failed too often, and is left out'
    for (const { url, breaker, counters: figures } of inOrder()) {
      if (!breaker.enter(now())) continue
      figures.requests++
      try {
        const response = await client.request(url, { method: 'POST', ...request })
        const result = take(response)
        breaker.succeeded()
        return result
      } catch (error) {
        if (error instanceof Misunderstood && error.isQuestions) breaker.succeeded()
        else if (error instanceof HttpFailure && error.fault === 'queued') breaker.notAsked()
        else breaker.failed(now())
        const fault = error instanceof HttpFailure ? faultOf[error.fault] : (error as Misunderstood).fault
        figures.failures[fault]++
        failure = `${url.host}: ${(error as Error).message}`
        // What it has had it may have acted upon: only who never had it does not count.
        if (fault !== 'connection') break
      }
    }
    throw new ServiceFailure(failure)
  }

  return {
    name: endpoints.map(({ url }) => url.host).join(', '),
    ask: (request, read) =>
      send(request, (response) => ({ answer: understood(response, read), headers: response.headers })),
    tell: (request) => send(request, told),
    reload: () => client.reload(),
    close: () => client.close(),
  }
}

class Misunderstood extends Error {
  readonly fault: WebhookFault
  /** By the question, and not by the endpoint: what one client sends must not have it left out for all. */
  readonly isQuestions: boolean

  constructor(fault: WebhookFault, message: string, isQuestions = false) {
    super(message)
    this.fault = fault
    this.isQuestions = isQuestions
  }
}

function understood<Answer>({ status, body }: HttpResponse, read: (text: string) => Answer): Answer {
  if (status !== 200) throw new Misunderstood('status', `status ${status}`, status >= 400 && status < 500)
  try {
    return read(body.toString())
  } catch (error) {
    throw new Misunderstood('answer', `the answer means nothing: ${(error as Error).message}`)
  }
}

/** Whatever it thinks of it, it is there for questions. */
function told({ status }: HttpResponse): void {
  if (status < 200 || status > 299) throw new Misunderstood('status', `status ${status}`, true)
}
