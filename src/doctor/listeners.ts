import { randomBytes } from 'node:crypto'
import { listenerName } from '../config/listener-name.ts'
import { tlsOf } from '../config/listener-tls.ts'
import type { Config, ListenerConfig, MqttListenerConfig } from '../config/schema.ts'
import { createCidrList } from '../listeners/cidr.ts'
import { encodeProxyV2 } from '../tunnel/proxy-v2.ts'
import { findingsOf, msText, type Finding } from './finding.ts'
import { probeMqtt, type Probe, type ProbeTarget } from './mqtt-probe.ts'
import { connectHost } from './places.ts'

const { ok, warn, fail, skipped } = findingsOf('mqtt')

/** A listener, and what a probe of it has brought. */
export interface Probed {
  readonly listener: MqttListenerConfig
  readonly probe: Probe
  readonly asksOnly: boolean
}

/** CONNECT and PINGREQ at each listener, as a client of this machine would. Of those at port 0 there is no result. */
export async function probeListeners({ listeners }: Config): Promise<readonly Probed[]> {
  const probed: Probed[] = []
  for (const listener of listeners) {
    if (!speaksMqtt(listener) || (listener.type !== 'unix' && listener.port === 0)) continue
    const asksOnly = !listener.allowAnonymous
    const target = targetOf(listener)
    // As a health check of the proxy's own, which names nobody (doc/proxy-protocol.txt, LOCAL).
    const header = wantsHeader(listener, target.host) ? encodeProxyV2(undefined, undefined) : undefined
    const probe = await probeMqtt({ ...target, asksOnly, ...(header && { proxyHeader: header }) })
    probed.push({ listener, probe, asksOnly })
  }
  return probed
}

export function speaksMqtt(listener: ListenerConfig): listener is MqttListenerConfig {
  return listener.type !== 'coap' && listener.type !== 'proxy' && !('http' in listener)
}

const SPOKEN = { coap: 'CoAP', proxy: 'SOCKS5 and HTTP CONNECT', http: 'HTTP', https: 'HTTP' } as const

/** Where it is, as seen from this machine. */
export function targetOf(listener: MqttListenerConfig): ProbeTarget {
  const clientId = `doctor-${randomBytes(6).toString('hex')}`
  const version = (['3.1.1', '5', '3.1'] as const).find((one) => listener.protocolVersions.includes(one))!
  if (listener.type === 'unix')
    return { host: '', port: 0, socketPath: listener.path, isTls: false, clientId, version }
  return {
    host: connectHost(listener.host),
    port: listener.port,
    isTls: listener.type === 'tls' || listener.type === 'wss',
    clientId,
    version,
    ...('websocket' in listener && { webSocketPath: listener.websocket.path }),
  }
}

function wantsHeader(listener: MqttListenerConfig, host: string): boolean {
  if (listener.type === 'unix' || listener.proxyProtocol === 'off') return false
  // This machine connects from the address that it connects to.
  return listener.proxyProtocol === 'required' || createCidrList(listener.trustedProxies).contains(host)
}

/** Pure. */
export function judgeListeners(
  { listeners }: Config,
  probed: readonly Probed[],
  isBrokerRunning: boolean,
): readonly Finding[] {
  return listeners.map((listener) => {
    // What a client is told there depends on its topic and rights: curl and coap-client try it.
    if (!speaksMqtt(listener)) {
      return skipped(`${listenerName(listener)}: speaks ${SPOKEN[listener.type]}, not MQTT`)
    }
    const found = probed.find((one) => one.listener === listener)
    const name = listenerName(listener)
    if (found === undefined) return skipped(`${name}: its port is known when the broker runs`)
    return judge(name, found, isBrokerRunning)
  })
}

/** Refuses whoever has no certificate, as this probe has none. */
export function wantsCertificate(listener: ListenerConfig): boolean {
  const tls = tlsOf(listener)
  return tls?.clientCa !== undefined && tls.requireClientCertificate
}

function judge(name: string, { listener, probe, asksOnly }: Probed, isBrokerRunning: boolean): Finding {
  const { failure, connack, connectMs = 0, pingMs = 0 } = probe
  if (failure?.at === 'connect' && !isBrokerRunning)
    return skipped(`${name}: nobody listens, as no broker runs`)
  if (wantsCertificate(listener)) {
    if (connack !== undefined)
      return fail(
        `${name}: takes a client without a certificate, though it is required`,
        'restart the broker with this configuration',
      )
    // With TLS 1.3 a client has its handshake, and learns of the refusal when it has sent something.
    if (failure !== undefined && probe.fingerprint !== undefined)
      return ok(`${name}: refuses a client without a certificate, as it should; one with it was not tried`)
  }
  if (failure !== undefined)
    return fail(`${name}: ${words[failure.at]}: ${failure.reason}`, adviceOn(listener, failure.at))
  if (connack === 0) return ok(`${name}: CONNECT took ${msText(connectMs)}, PINGREQ ${msText(pingMs)}`)
  if (asksOnly && connack === 1)
    return ok(
      `${name}: answers CONNECT in ${msText(connectMs)}; who gets in was not tried (tunnelmq why ... connect)`,
    )
  return warn(
    `${name}: refuses an anonymous CONNECT, with code ${connack}`,
    'see the log of the broker, or `tunnelmq refusals`: is this address banned, or a limit reached?',
  )
}

const words = {
  connect: 'cannot be reached',
  tls: 'TLS fails',
  websocket: 'the WebSocket fails',
  mqtt: 'MQTT fails',
} as const

function adviceOn(listener: ListenerConfig, at: keyof typeof words): string {
  if (at === 'connect') return 'the broker that runs has no such listener: restart it with this configuration'
  if (at === 'tls' && tlsOf(listener)?.clientCa !== undefined)
    return 'it wants a client certificate, which this probe has not: try `openssl s_client` with one'
  if (at === 'tls') return 'see the findings on tls; `openssl s_client -connect` shows the handshake'
  return 'is it another program that holds the port? The log of the broker says what it refused'
}
