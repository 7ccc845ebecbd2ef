import { isUtf8 } from 'node:buffer'
import type { DoorCredentials, MessageDescription } from '../../broker/door/contract.ts'
import type { QoS } from '../../hooks/types.ts'
import { EXPIRY_FAULT, parseExpiry } from '../expiry.ts'
import { CoapRefusal } from './answer.ts'
import { parseBlock, type Block } from './block.ts'
import { contentTypeOf } from './content-format.ts'
import { Code, MessageType, type CoapMessage } from './message.ts'
import { OptionNumber, readUint, sortOptions } from './options.ts'

/** A request as the door understands it. */
export interface CoapRequest {
  readonly method: 'read' | 'observe' | 'forget' | 'publish' | 'delete' | 'discover'
  /** A filter, where it is observed. */
  readonly topic: string
  /** As asked for by `?qos=`; else 1 for what is published by a confirmable message, and 0 for the rest. */
  readonly qos: QoS
  readonly retain: boolean
  readonly description: MessageDescription
  readonly credentials: DoorCredentials
  readonly payload: Buffer
  readonly block1: Block | undefined
  readonly block2: Block | undefined
  /** What the client says that the whole payload has. */
  readonly size1: number | undefined
  readonly eTags: readonly Buffer[]
  /** Tells uploads of one client to one topic apart. */
  readonly requestTag: string
}

const OBSERVE_REGISTER = 0
const OBSERVE_DEREGISTER = 1
const DISCOVERY_PATH = '.well-known/core'

/**
 * Reads a request: `<prefix>/<topic>?qos=&retain=&expiry=&clientid=&username=&password=` or `?auth=<password>`.
 * @throws {CoapRefusal} 4.00, 4.02, 4.05 or 5.05, which say what is wrong with it.
 */
export function readRequest(message: CoapMessage, pathPrefix: string): CoapRequest {
  const options = sortOptions(message.options)
  if ('bad' in options) throw badOption(options.bad)
  const first = (number: OptionNumber): Buffer | undefined => options.get(number)?.[0]
  const path = (options.get(OptionNumber.uriPath) ?? []).map(text).join('/')
  const query = readQuery(options.get(OptionNumber.uriQuery) ?? [])
  const method = methodOf(message.code, first(OptionNumber.observe), path)
  const size1 = first(OptionNumber.size1)
  const isSafe = message.type === MessageType.confirmable
  return {
    method,
    topic: method === 'discover' ? '' : topicOf(path, pathPrefix),
    qos: query.has('qos') ? qosOf(query.get('qos')!) : isSafe && method !== 'observe' ? 1 : 0,
    retain: query.has('retain') && booleanOf('retain', query.get('retain')!),
    description: descriptionOf(query.get('expiry'), first(OptionNumber.contentFormat)),
    credentials: credentialsOf(query, first(OptionNumber.username), first(OptionNumber.password)),
    payload: message.payload,
    block1: blockOf(first(OptionNumber.block1)),
    block2: blockOf(first(OptionNumber.block2)),
    size1: size1 && readUint(size1),
    eTags: options.get(OptionNumber.eTag) ?? [],
    requestTag: Buffer.concat(options.get(OptionNumber.requestTag) ?? []).toString('hex'),
  }
}

function badOption(number: number): CoapRefusal {
  if (number === OptionNumber.proxyUri || number === OptionNumber.proxyScheme)
    return new CoapRefusal(Code.proxyingNotSupported, 'this is no proxy')
  return new CoapRefusal(Code.badOption, `option ${number} is unknown here, or not well-formed`)
}

function methodOf(code: number, observe: Buffer | undefined, path: string): CoapRequest['method'] {
  switch (code) {
    case Code.get: {
      if (path === DISCOVERY_PATH) return 'discover'
      const value = observe && readUint(observe)
      if (value === OBSERVE_REGISTER) return 'observe'
      return value === OBSERVE_DEREGISTER ? 'forget' : 'read'
    }
    case Code.post:
    case Code.put:
      return 'publish'
    case Code.delete:
      return 'delete'
    default:
      throw new CoapRefusal(Code.methodNotAllowed, 'GET, POST, PUT or DELETE')
  }
}

/** Without the prefix, whatever that ends in: `/mqtt` and topic `a/b` are `/mqtt/a/b`. */
function topicOf(path: string, pathPrefix: string): string {
  const prefix = pathPrefix.slice(1)
  if (prefix === '' && path !== '') return path
  if (path.startsWith(`${prefix}/`) && path.length > prefix.length + 1) return path.slice(prefix.length + 1)
  throw new CoapRefusal(Code.notFound, `paths are ${pathPrefix}/<topic>`)
}

const QUERY_KEYS = new Set(['qos', 'retain', 'expiry', 'clientid', 'username', 'password', 'auth'])

/** Each Uri-Query is one `key=value`. A key that nobody reads is an error: a mistyped `retain` must not be ignored. */
function readQuery(values: readonly Buffer[]): ReadonlyMap<string, string> {
  const query = new Map<string, string>()
  for (const argument of values.map(text)) {
    const equals = argument.indexOf('=')
    const key = equals === -1 ? argument : argument.slice(0, equals)
    // Not what it is: it may be a secret whose key was forgotten.
    if (!QUERY_KEYS.has(key))
      throw new CoapRefusal(Code.badRequest, `the query takes ${[...QUERY_KEYS].join(', ')}`)
    if (query.has(key)) throw new CoapRefusal(Code.badRequest, `${key} is there twice`)
    query.set(key, equals === -1 ? '' : argument.slice(equals + 1))
  }
  return query
}

function credentialsOf(
  query: ReadonlyMap<string, string>,
  usernameOption: Buffer | undefined,
  passwordOption: Buffer | undefined,
): DoorCredentials {
  const clientId = query.get('clientid')
  const username = usernameOption === undefined ? query.get('username') : text(usernameOption)
  const secret = query.get('password') ?? query.get('auth')
  // A copy: handlers wipe it, and the datagram is still needed.
  const password =
    passwordOption !== undefined
      ? Buffer.from(passwordOption)
      : secret !== undefined
        ? Buffer.from(secret)
        : undefined
  return {
    ...(clientId === undefined ? {} : { clientId }),
    ...(username === undefined ? {} : { username }),
    ...(password === undefined ? {} : { password }),
  }
}

function descriptionOf(expiry: string | undefined, format: Buffer | undefined): MessageDescription {
  const contentType = format && contentTypeOf(readUint(format))
  const expirySeconds = expiry === undefined ? undefined : parseExpiry(expiry)
  if (expiry !== undefined && expirySeconds === undefined)
    throw new CoapRefusal(Code.badRequest, EXPIRY_FAULT)
  return {
    ...(contentType !== undefined && { properties: { contentType } }),
    ...(expirySeconds !== undefined && { expirySeconds }),
  }
}

function qosOf(value: string): QoS {
  if (value === '0' || value === '1' || value === '2') return Number(value) as QoS
  throw new CoapRefusal(Code.badRequest, 'qos is 0, 1 or 2')
}

function booleanOf(key: string, value: string): boolean {
  if (value === 'true' || value === '1') return true
  if (value === 'false' || value === '0') return false
  throw new CoapRefusal(Code.badRequest, `${key} is true or false`)
}

function blockOf(value: Buffer | undefined): Block | undefined {
  if (value === undefined) return undefined
  const block = parseBlock(value)
  if (block === undefined) throw new CoapRefusal(Code.badRequest, 'a block of a reserved size') // RFC 7959, 2.2
  return block
}

function text(value: Buffer): string {
  if (!isUtf8(value)) throw new CoapRefusal(Code.badRequest, 'not UTF-8')
  return value.toString()
}

/** Who asks without saying so. */
export function isAnonymous({ username, password }: DoorCredentials): boolean {
  return username === undefined && password === undefined
}
