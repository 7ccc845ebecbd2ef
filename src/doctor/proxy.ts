import { setTimeout as delay } from 'node:timers/promises'
import { listenerName } from '../config/listener-name.ts'
import type { Config, MqttListenerConfig } from '../config/schema.ts'
import { createCidrList } from '../listeners/cidr.ts'
import { encodeProxyV2 } from '../tunnel/proxy-v2.ts'
import type { BrokerApi, BrokerView } from './broker-view.ts'
import { findingsOf, type Finding } from './finding.ts'
import { speaksMqtt, targetOf, wantsCertificate } from './listeners.ts'
import { probeMqtt, type Probe } from './mqtt-probe.ts'

const { ok, warn, fail, skipped } = findingsOf('proxy')

/** Of TEST-NET-1 (RFC 5737): nobody's address, so what is counted against it harms nobody. */
const CLAIMED = { address: '192.0.2.77', port: 40_000 }
const RECORD_WAIT_MS = 100
const RECORD_LOOKS = 10

type ProxyListener = Extract<MqttListenerConfig, { proxyProtocol: string }>

/** What the probes have brought. */
export interface ProxyFacts {
  readonly isLoopbackTrusted: boolean
  readonly without: Probe
  readonly withHeader: Probe
  /** Which address the broker has seen, where it could be asked. */
  readonly seenAddress: string | undefined
}

/** Listeners behind a proxy: with a header and without one, and whom the broker took the client for. */
export async function checkProxies(
  config: Config,
  broker: BrokerView | undefined,
): Promise<readonly Finding[]> {
  const listeners = config.listeners.filter(
    (listener): listener is ProxyListener =>
      speaksMqtt(listener) && 'proxyProtocol' in listener && listener.proxyProtocol !== 'off',
  )
  const findings: Finding[] = []
  for (const listener of config.listeners)
    if (speaksMqtt(listener) && 'proxyProtocol' in listener) findings.push(...judgeTrust(listener))
  for (const listener of listeners) {
    const name = listenerName(listener)
    if (broker === undefined || listener.port === 0) {
      findings.push(skipped(`${name}: tried when the broker runs`))
      continue
    }
    if (wantsCertificate(listener)) {
      findings.push(skipped(`${name}: needs a client certificate, which this probe has not`))
      continue
    }
    findings.push(...judgeProxy(listener, await probe(listener, broker), broker))
  }
  return findings
}

async function probe(listener: ProxyListener, { api }: BrokerView): Promise<ProxyFacts> {
  const plain = { ...targetOf(listener), asksOnly: !listener.allowAnonymous }
  const without = await probeMqtt(plain)
  const target = { ...targetOf(listener), proxyHeader: encodeProxyV2(CLAIMED, undefined) }
  let seenAddress: string | undefined
  const withHeader = await probeMqtt(target, async () => {
    seenAddress = (await api?.client(target.clientId))?.address ?? undefined
  })
  // Refused for want of credentials: the refusal has the address, too.
  if (seenAddress === undefined && api !== undefined && (withHeader.connack ?? 0) !== 0)
    seenAddress = await refusedAddress(api, target.clientId)
  const trusted = createCidrList(listener.trustedProxies)
  return { isLoopbackTrusted: trusted.contains(target.host), without, withHeader, seenAddress }
}

/** It is recorded a moment after the client was told. */
async function refusedAddress(api: BrokerApi, client: string): Promise<string | undefined> {
  for (let look = 0; look < RECORD_LOOKS; look++) {
    const refusal = (await api.refusals()).find((one) => one.client === client)
    if (refusal !== undefined) return refusal.address ?? undefined
    await delay(RECORD_WAIT_MS)
  }
  return undefined
}

/** Pure. */
export function judgeProxy(
  listener: ProxyListener,
  facts: ProxyFacts,
  { noApi }: Pick<BrokerView, 'noApi'>,
): readonly Finding[] {
  const name = listenerName(listener)
  const { without, withHeader, seenAddress, isLoopbackTrusted } = facts
  // trustedProxies says nothing about `required`: there everyone is a proxy (listeners/entrance.ts).
  const believes = listener.proxyProtocol === 'required' || isLoopbackTrusted
  if (without.failure?.at === 'connect')
    return [
      fail(`${name}: cannot be reached: ${without.failure.reason}`, 'see the findings on ports and mqtt'),
    ]
  const answersWithout = without.connack !== undefined
  const answersWith = withHeader.connack !== undefined
  const findings: Finding[] = []
  if (listener.proxyProtocol === 'required')
    findings.push(
      answersWithout
        ? fail(
            `${name}: takes a connection without a PROXY header, though it is required`,
            'restart the broker with this configuration',
          )
        : ok(`${name}: refuses a connection without a PROXY header`),
    )
  else if (!isLoopbackTrusted)
    findings.push(
      answersWithout
        ? ok(`${name}: takes a direct connection, as this machine is none of its proxies`)
        : fail(
            `${name}: refuses a direct connection (${without.failure?.reason ?? ''})`,
            'see the log of the broker',
          ),
    )
  if (!believes)
    findings.push(
      answersWith
        ? fail(
            `${name}: takes a PROXY header of this machine, which is none of its trustedProxies`,
            'restart the broker with this configuration',
          )
        : ok(`${name}: refuses a PROXY header of this machine, which is none of its trustedProxies`),
    )
  else if (!answersWith)
    findings.push(
      fail(
        `${name}: refuses a connection with a PROXY header (${withHeader.failure?.reason ?? ''})`,
        'see the log of the broker: `connection refused` with reason proxy-header',
      ),
    )
  else if (seenAddress === undefined)
    findings.push(
      ok(
        `${name}: takes a PROXY header; the address that it saw is not known (${noApi || 'it was not recorded'})`,
      ),
    )
  else if (seenAddress === CLAIMED.address)
    findings.push(ok(`${name}: believes the PROXY header: it saw ${seenAddress}`))
  else
    findings.push(
      fail(
        `${name}: saw ${seenAddress}, and the header named ${CLAIMED.address}`,
        'put the address of the proxy into trustedProxies',
      ),
    )
  return findings
}

/** Pure: who may claim to be anybody. */
export function judgeTrust(listener: ProxyListener): readonly Finding[] {
  const name = listenerName(listener)
  const wide = listener.trustedProxies.filter(
    (cidr) => Number(/\/(\d+)$/.exec(cidr)?.[1] ?? Infinity) < (cidr.includes(':') ? 16 : 8),
  )
  if (wide.length > 0)
    return [
      warn(
        `${name}: trustedProxies has ${wide.join(', ')}: whoever reaches it may claim any address`,
        'name the addresses of the proxies themselves',
      ),
    ]
  if (listener.proxyProtocol === 'required' && !/^(127\.|::1$)/.test(listener.host))
    return [
      warn(
        `${name}: takes a PROXY header from everyone who reaches it, so bans and ACLs by address mean little`,
        'let a firewall admit the proxy alone, or name it in trustedProxies with proxyProtocol: trusted',
      ),
    ]
  return []
}
