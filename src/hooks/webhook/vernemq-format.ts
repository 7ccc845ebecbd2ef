import type { Session } from '../types.ts'
import {
  encodePayload,
  jsonRequest,
  parseObject,
  passwordText,
  type Format,
  type FormatOptions,
  type Notice,
  type Question,
} from './format.ts'
import { filterOf, readAnswer } from './vernemq-answers.ts'
import {
  connectProperties,
  messageProperties,
  subscribeProperties,
  subscriptionOptions,
} from './vernemq-m5.ts'

/**
 * The webhooks of VerneMQ (vmq_webhooks), as services that were written for it expect them: names, order of keys, null
 * where there is nothing, payload in base64. Clients of MQTT 5 have hooks of their own (`..._m5`) where `mqtt5Hooks` says
 * so, and else those of 3.1.1.
 */
export function createVernemqFormat(options: FormatOptions): Format {
  // Theirs have no separator at the end.
  const mountpoint = options.mountpoint.replace(/\/$/, '')
  return {
    // There, too, only a yes is remembered by the header.
    cachesByHeader: new Set(['allow']),
    request: (session, asked) =>
      jsonRequest(bodyOf(session, asked, { ...options, mountpoint }), {
        ...options.headers,
        'vernemq-hook': hookOf(session, asked, options),
      }),
    answer: (text, session, question) =>
      readAnswer(parseObject(text), question, { ...options, mountpoint }, isM5(session, options)),
  }
}

/** Its hooks are those of MQTT 5. */
function isM5({ protocolVersion }: Session, { mqtt5Hooks }: FormatOptions): boolean {
  return protocolVersion === 5 && mqtt5Hooks !== undefined
}

function hookOf(session: Session, asked: Question | Notice, options: FormatOptions): string {
  if (asked.hook === 'disconnect') return isStored(session) ? 'on_client_offline' : 'on_client_gone'
  const hook = nameOf(asked)
  return isM5(session, options) ? `${hook}_m5` : hook
}

/** As far as CONNECT says: DISCONNECT of MQTT 5 may change it. */
function isStored({ clean, protocolVersion, properties }: Session): boolean {
  return protocolVersion === 5 ? (properties?.sessionExpiryInterval ?? 0) > 0 : !clean
}

function nameOf({ hook }: Exclude<Question | Notice, { hook: 'disconnect' }>): string {
  switch (hook) {
    case 'authConnect':
      return 'auth_on_register'
    case 'authPublish':
      return 'auth_on_publish'
    case 'authSubscribe':
    case 'authTunnel':
      return 'auth_on_subscribe'
    case 'connect':
      return 'on_register'
    case 'publish':
      return 'on_publish'
    case 'subscribe':
      return 'on_subscribe'
    case 'unsubscribe':
      return 'on_unsubscribe'
    default:
      return hook satisfies never
  }
}

function bodyOf(session: Session, asked: Question | Notice, options: FormatOptions): object {
  const { mountpoint } = options
  const peer = { peer_addr: session.peer.address, peer_port: session.peer.port }
  const client = { mountpoint, client_id: session.id }
  const username = { username: session.username ?? null }
  const m5 = isM5(session, options)
  switch (asked.hook) {
    case 'authConnect': {
      const { certificate } = session.peer
      return {
        ...peer,
        ...client,
        ...username,
        password: passwordText(session.password),
        ...(m5
          ? { clean_start: session.clean, properties: connectProperties(session.properties) }
          : { clean_session: session.clean }),
        ...(options.sendCertificatePem && certificate && { client_cert: derOf(certificate.pem) }),
      }
    }
    case 'connect':
      return {
        ...peer,
        ...client,
        ...username,
        ...(m5 && { properties: connectProperties(session.properties) }),
      }
    case 'authPublish':
    case 'publish': {
      const { qos, topic, payload, retain } = asked.message
      // `no_payload` is for the question alone there.
      const encoding = options.payload === 'none' && asked.hook === 'publish' ? 'base64' : options.payload
      const content = encoding === 'none' ? {} : { payload: encodePayload(payload, encoding) }
      const properties = m5 && { properties: messageProperties(asked.message) }
      return { ...username, ...client, qos, topic, ...content, retain, ...properties }
    }
    case 'authSubscribe':
    case 'subscribe': {
      const topics = asked.subscriptions.map((subscription) => ({
        topic: filterOf(subscription),
        qos: subscription.qos,
        ...(m5 && subscriptionOptions(subscription)),
      }))
      const properties = m5 && { properties: subscribeProperties(asked.subscriptions) }
      return { ...username, ...client, topics, ...properties }
    }
    case 'authTunnel':
      return { ...username, ...client, topics: [{ topic: asked.tunnel.topic, qos: 0 }] }
    case 'unsubscribe':
      return { ...username, ...client, topics: asked.topics, ...(m5 && { properties: {} }) }
    case 'disconnect':
      return client
    default:
      return asked satisfies never
  }
}

function derOf(pem: string): string {
  return pem.replace(/-----[A-Z ]+-----|\s/g, '')
}
