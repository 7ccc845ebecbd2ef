import { execFile } from 'node:child_process'
import { request, type IncomingHttpHeaders, type RequestOptions } from 'node:http'
import { connect } from 'node:net'
import { promisify } from 'node:util'
import type { Handler, Session } from '../../src/hooks/types.ts'
import { AuthError, RefuseReason } from '../../src/hooks/types.ts'

const run = promisify(execFile)

export interface Answer {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  readonly body: Buffer
}

/** The real curl; its answer, with the status in it. */
export async function curl(...words: string[]): Promise<Answer> {
  const args = ['-sS', '-i', '--http1.1', '--max-time', '20', ...words]
  const { stdout } = await run('curl', args, { encoding: 'buffer', maxBuffer: 8_388_608 })
  return parseAnswers(stdout).at(-1)!
}

/** One request of Node's own client. */
export function ask(
  url: string,
  options: RequestOptions & { body?: Buffer | string } = {},
): Promise<Answer & { readonly port: number }> {
  const { body, ...rest } = options
  return new Promise((resolve, reject) => {
    const sent = request(url, rest, (response) => {
      const { localPort: port = 0 } = response.socket
      const chunks: Buffer[] = []
      response.on('data', (chunk: Buffer) => chunks.push(chunk))
      response.on('error', reject)
      response.on('end', () => {
        const { statusCode: status = 0, headers } = response
        resolve({ status, headers, body: Buffer.concat(chunks), port })
      })
    })
    sent.on('error', reject)
    sent.end(body)
  })
}

/** Bytes as they are, and what comes until the server closes. */
export function askRaw(port: number, bytes: string): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = []
    const socket = connect(port, '127.0.0.1', () => socket.write(bytes))
    socket.on('data', (chunk: Buffer) => chunks.push(chunk))
    socket.on('error', reject)
    socket.on('close', () => resolve(Buffer.concat(chunks)))
  })
}

/** Answers one after the other, as curl prints them; interim ones are left out. */
export function parseAnswers(bytes: Buffer): Answer[] {
  const answers: Answer[] = []
  let rest = bytes
  while (rest.length > 0) {
    const end = rest.indexOf('\r\n\r\n')
    const [line = '', ...fields] = rest.subarray(0, end).toString().split('\r\n')
    const status = Number(line.split(' ')[1])
    const headers: Record<string, string> = {}
    for (const field of fields) {
      const [name = '', ...value] = field.split(': ')
      headers[name.toLowerCase()] = value.join(': ')
    }
    rest = rest.subarray(end + 4)
    if (status === 100) continue
    const length = status === 204 ? 0 : Number(headers['content-length'] ?? rest.length)
    answers.push({ status, headers, body: rest.subarray(0, length) })
    rest = rest.subarray(length)
  }
  return answers
}

export interface Recorded {
  readonly handler: Handler
  /** Topics and filters that are refused from now on. */
  readonly forbidden: Set<string>
  readonly calls: { readonly method: string; readonly session: Session; readonly detail: string }[]
}

/** Says no by the names of users and topics, and writes down what it is asked. */
export function recordingHandler(): Recorded {
  const calls: { method: string; session: Session; detail: string }[] = []
  const forbidden = new Set<string>()
  const note = (method: string, session: Session, detail = ''): void =>
    void calls.push({ method, session, detail })
  const refusals: Record<string, RefuseReason> = {
    wrong: RefuseReason.badCredentials,
    powerless: RefuseReason.notAuthorized,
    backend: RefuseReason.unavailable,
    named: RefuseReason.identifierRejected,
  }
  const judge = (topic: string): void => {
    if (topic.includes('secret') || forbidden.has(topic)) throw new AuthError('a secret topic')
    if (topic.includes('backend')) throw new AuthError('away', RefuseReason.unavailable)
  }
  const handler: Handler = {
    name: 'recorder',
    authConnect(session) {
      note('authConnect', session, `${session.username} ${session.password?.toString()}`)
      const refused = refusals[session.username ?? '']
      if (refused !== undefined) throw new AuthError('a detail for the log', refused)
      if (session.username === undefined) throw new AuthError('nobody', RefuseReason.badCredentials)
    },
    connect: (session) => note('connect', session),
    authPublish(session, message) {
      note('authPublish', session, `${message.topic} ${message.qos} ${message.retain}`)
      judge(message.topic)
      if (message.topic === 'raw') {
        message.topic = 'cooked'
        message.payload = Buffer.from(message.payload.toString().toUpperCase())
      }
    },
    publish: (session, { topic }) => note('publish', session, topic),
    authSubscribe(session, subscriptions) {
      for (const { topic, qos } of subscriptions) {
        note('authSubscribe', session, `${topic} ${qos}`)
        judge(topic)
      }
    },
    subscribe: (session) => note('subscribe', session),
    authDeliver: (_session, { topic }) => !topic.endsWith('/hidden'),
    unsubscribe: (session) => note('unsubscribe', session),
    disconnect: (session, { kind }) => note('disconnect', session, kind),
    stillAllowed: (session) => session.username !== 'outcast',
  }
  return { handler, calls, forbidden }
}
