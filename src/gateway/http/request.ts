import type { MessageDescription } from '../../broker/door/contract.ts'
import type { QoS } from '../../hooks/types.ts'
import { EXPIRY_FAULT, parseExpiry } from '../expiry.ts'
import { HttpProblem } from './problem.ts'

export const METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'OPTIONS'] as const
export type Method = (typeof METHODS)[number]

/** What a request asks of the broker. */
export interface HttpAsk {
  readonly kind: 'publish' | 'read' | 'delete' | 'stream'
  /** One, but for `stream`: each is a filter then. Decoded exactly once; never with path, query or token in it. */
  readonly topics: readonly string[]
  readonly qos: QoS
  readonly retain: boolean
  readonly clientId: string | undefined
  /** Of what is published: expiry, response topic, correlation data. */
  readonly description: MessageDescription
}

interface RequestLine {
  readonly method: Method
  /** As it stands in the request. */
  readonly target: string
  /** Where topics are. */
  readonly path: string
  readonly accept: string | undefined
}

const PARAMETERS: Record<HttpAsk['kind'], readonly string[]> = {
  publish: ['qos', 'retain', 'expiry', 'response', 'correlation', 'clientid'],
  read: ['clientid'],
  delete: ['qos', 'clientid'],
  stream: ['topic', 'qos', 'clientid'],
}

/**
 * Pure. @throws {HttpProblem} 400 or 404.
 */
export function parseRequest({ method, target, path, accept }: RequestLine): HttpAsk {
  const [rawPath, rawQuery] = splitTarget(target)
  const rawTopic = topicIn(rawPath, path)
  const isStream = method === 'GET' && acceptsEventStream(accept)
  const kind = isStream ? 'stream' : KINDS[method]
  const query = parseQuery(rawQuery, PARAMETERS[kind])
  const named = query.filter(([name]) => name === 'topic').map(([, value]) => value)
  const topics = [...(rawTopic === '' ? [] : [decode(rawTopic)]), ...named]
  if (topics.length === 0) throw new HttpProblem(404, `a topic is missing: ${shown(path)}/<topic>`)
  return {
    kind,
    topics,
    qos: qosOf(only(query, 'qos'), kind),
    retain: kind === 'delete' || isSet(only(query, 'retain')),
    clientId: clientIdOf(only(query, 'clientid')),
    description: descriptionOf(only(query, 'expiry'), only(query, 'response'), only(query, 'correlation')),
  }
}

const KINDS: Record<Method, HttpAsk['kind']> = {
  GET: 'read',
  HEAD: 'read',
  POST: 'publish',
  PUT: 'publish',
  DELETE: 'delete',
  OPTIONS: 'read',
}

/** Is the target below the path? For requests that ask for nothing, OPTIONS. */
export function isBelow(target: string, path: string): boolean {
  const [rawPath] = splitTarget(target)
  return target === '*' || rawPath === path || rawPath.startsWith(path === '/' ? '/' : `${path}/`)
}

/** RFC 9112, 3.2: origin form, or absolute form, which proxies are sent. */
function splitTarget(target: string): [path: string, query: string] {
  if (target.includes('#')) throw new HttpProblem(400, 'a # in a URL is written %23')
  const origin = target.replace(/^https?:\/\/[^/?]*/i, '')
  const at = origin.indexOf('?')
  return at === -1 ? [origin, ''] : [origin.slice(0, at), origin.slice(at + 1)]
}

/** What stands behind the path, as it is; levels such as `..` are levels of the topic like any other. */
function topicIn(rawPath: string, path: string): string {
  const before = path === '/' ? '/' : `${path}/`
  if (rawPath === path) return ''
  if (!rawPath.startsWith(before)) throw new HttpProblem(404, `topics are at ${shown(path)}/<topic>`)
  return rawPath.slice(before.length)
}

const shown = (path: string): string => (path === '/' ? '' : path)

function parseQuery(raw: string, known: readonly string[]): [name: string, value: string][] {
  const pairs = raw.split('&').filter((pair) => pair !== '')
  return pairs.map((pair) => {
    const at = pair.indexOf('=')
    const name = decode(at === -1 ? pair : pair.slice(0, at))
    // Before it is looked at any further: it may be a token.
    if (name === 'authorization')
      throw new HttpProblem(400, 'credentials are taken from the Authorization header, never from the URL')
    if (!known.includes(name))
      throw new HttpProblem(400, `unknown query parameter; known here: ${known.join(', ')}`)
    return [name, at === -1 ? '' : decode(pair.slice(at + 1))]
  })
}

function only(query: readonly [string, string][], name: string): string | undefined {
  const values = query.filter(([found]) => found === name)
  if (values.length > 1) throw new HttpProblem(400, `${name} is given more than once`)
  return values[0]?.[1]
}

function descriptionOf(
  expiry: string | undefined,
  responseTopic: string | undefined,
  correlation: string | undefined,
): MessageDescription {
  const expirySeconds = expiry === undefined ? undefined : parseExpiry(expiry)
  if (expiry !== undefined && expirySeconds === undefined) throw new HttpProblem(400, EXPIRY_FAULT)
  const properties = {
    ...(responseTopic !== undefined && { responseTopic }),
    ...(correlation !== undefined && { correlationData: Buffer.from(correlation) }),
  }
  return {
    ...(Object.keys(properties).length > 0 && { properties }),
    ...(expirySeconds !== undefined && { expirySeconds }),
  }
}

function qosOf(text: string | undefined, kind: HttpAsk['kind']): QoS {
  // Who publishes is told that the message is safe; who listens may come again.
  if (text === undefined) return kind === 'stream' ? 0 : 1
  if (text !== '0' && text !== '1' && text !== '2') throw new HttpProblem(400, 'qos is 0, 1 or 2')
  return Number(text) as QoS
}

function isSet(text: string | undefined): boolean {
  if (text === undefined || text === 'false' || text === '0') return false
  if (text === '' || text === 'true' || text === '1') return true
  throw new HttpProblem(400, 'retain is true or false')
}

function clientIdOf(text: string | undefined): string | undefined {
  if (text === '') throw new HttpProblem(400, 'clientid is empty')
  return text
}

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** Percent-decodes exactly once, to strict UTF-8 (RFC 3986, 2.1). A plus sign is itself: it is a wildcard. */
function decode(raw: string): string {
  const bytes = Buffer.from(raw, 'latin1')
  let length = 0
  for (let at = 0; at < bytes.length; at++) {
    if (bytes[at] !== PERCENT) {
      bytes[length++] = bytes[at]!
      continue
    }
    const hex = raw.slice(at + 1, at + 3)
    if (!/^[0-9A-Fa-f]{2}$/.test(hex)) throw new HttpProblem(400, 'a % in a URL is written %25')
    bytes[length++] = Number.parseInt(hex, 16)
    at += 2
  }
  try {
    return utf8.decode(bytes.subarray(0, length))
  } catch {
    throw new HttpProblem(400, 'the URL is not UTF-8')
  }
}

const PERCENT = 0x25

function acceptsEventStream(accept = ''): boolean {
  return accept.split(',').some((type) => type.split(';', 1)[0]!.trim().toLowerCase() === 'text/event-stream')
}
