import { filtersOverlap, reservedNamespace, topicFilterFault } from '../broker/topics.ts'
import type { BridgeConfig } from './bridge-schema.ts'
import type { ConfigPath, Mistake } from './mistake.ts'
import { mountpointFault } from './mountpoint.ts'
import type { Config } from './schema.ts'

type Topic = BridgeConfig['topics'][number]

/** What the schema of `bridges` cannot say. */
export function checkBridges(config: Config): readonly Mistake[] {
  return [
    ...config.bridges.flatMap((bridge, index) => checkBridge(bridge, index, config)),
    ...checkNames(config.bridges),
    ...checkLoops(config.bridges),
  ]
}

function checkBridge(bridge: BridgeConfig, index: number, config: Config): Mistake[] {
  const at = (...keys: (string | number)[]): ConfigPath => ['bridges', index, ...keys]
  const mistakes: Mistake[] = []
  const url = URL.canParse(bridge.url) ? new URL(bridge.url) : undefined
  if (url === undefined || url.hostname === '')
    mistakes.push({ path: at('url'), message: 'is not a URL such as mqtt://host:1883' })
  const isSecure = url?.protocol === 'mqtts:' || url?.protocol === 'wss:'
  if (bridge.tls !== undefined && !isSecure)
    mistakes.push({ path: at('tls'), message: 'is for mqtts:// and wss:// only' })
  if (bridge.password !== undefined && bridge.passwordFile !== undefined)
    mistakes.push({ path: at('passwordFile'), message: 'and password are both given: one of them' })
  const hasPassword = bridge.password !== undefined || bridge.passwordFile !== undefined
  if (hasPassword && bridge.username === undefined && (url?.username ?? '') === '')
    mistakes.push({ path: at('username'), message: 'is missing: MQTT has no password without one' })
  if (bridge.username !== undefined && (url?.username ?? '') !== '')
    mistakes.push({ path: at('username'), message: 'is in the URL already' })
  if ((bridge.tls?.cert === undefined) !== (bridge.tls?.key === undefined))
    mistakes.push({ path: at('tls'), message: 'needs cert and key together' })
  if (bridge.reconnectMaxMs < bridge.reconnectMinMs)
    mistakes.push({ path: at('reconnectMaxMs'), message: `is less than reconnectMinMs` })
  const fault = mountpointFault(bridge.mountpoint)
  if (fault !== undefined) mistakes.push({ path: at('mountpoint'), message: fault })
  for (const [entry, topic] of bridge.topics.entries()) {
    mistakes.push(...checkTopic(topic, at('topics', entry), config))
  }
  return [...mistakes, ...checkOverlaps(bridge.topics, at('topics'))]
}

function checkTopic(topic: Topic, path: ConfigPath, { limits }: Config): Mistake[] {
  const mistakes: Mistake[] = []
  for (const key of ['localPrefix', 'remotePrefix'] as const) {
    const message = 'cannot begin a topic: no +, #, or NUL in a prefix'
    if (/[+#\0]/.test(topic[key])) mistakes.push({ path: [...path, key], message })
  }
  if (mistakes.length > 0) return mistakes
  const size = { maxBytes: limits.maxTopicBytes, maxLevels: limits.maxTopicLevels }
  for (const side of ['local', 'remote'] as const) {
    const filter = topic[`${side}Prefix`] + topic.filter
    const fault = topicFilterFault(filter, size) ?? sideFault(filter, isTarget(topic, side))
    if (fault !== undefined) {
      mistakes.push({ path: [...path, 'filter'], message: `"${filter}" (${side}): ${fault}` })
    }
  }
  return mistakes
}

function sideFault(filter: string, isPublishedTo: boolean): string | undefined {
  const namespace = reservedNamespace(filter)
  if (namespace === 'share') return 'a bridge does not take part in shared subscriptions'
  if (namespace === 'tunnel') return 'tunnels do not go over bridges'
  return isPublishedTo && filter.startsWith('$') ? 'nobody publishes to topics that begin with $' : undefined
}

/** Messages are published on this side. */
function isTarget({ direction }: Topic, side: 'local' | 'remote'): boolean {
  return direction === 'both' || direction === (side === 'local' ? 'in' : 'out')
}

const localOf = (topic: Topic): string => topic.localPrefix + topic.filter
const remoteOf = (topic: Topic): string => topic.remotePrefix + topic.filter

/** Two maps of one direction that reach the same topics and lead to others: which one is meant? */
function checkOverlaps(topics: readonly Topic[], path: ConfigPath): Mistake[] {
  return topics.flatMap((topic, index) => {
    const other = topics.slice(0, index).findIndex((before) => {
      const samePlace = before.localPrefix === topic.localPrefix && before.remotePrefix === topic.remotePrefix
      const isOut = isTarget(topic, 'remote') && isTarget(before, 'remote')
      const isIn = isTarget(topic, 'local') && isTarget(before, 'local')
      return (
        !samePlace &&
        ((isOut && filtersOverlap(localOf(topic), localOf(before))) ||
          (isIn && filtersOverlap(remoteOf(topic), remoteOf(before))))
      )
    })
    if (other < 0) return []
    const message = `reaches topics of topics.${other}, which leads elsewhere: a message goes one way`
    return [{ path: [...path, index], message }]
  })
}

function checkNames(bridges: readonly BridgeConfig[]): Mistake[] {
  return bridges.flatMap(({ name }, index) => {
    const first = bridges.findIndex((other) => other.name === name)
    if (first === index) return []
    const message = `"${name}" is the name of bridges.${first} already: each has a session of its own`
    return [{ path: ['bridges', index, 'name'], message }]
  })
}

/**
 * What one bridge brings, another one to the same broker takes back, and so on without end. Within one bridge nothing
 * comes back: neither broker sends it what it has published itself.
 */
function checkLoops(bridges: readonly BridgeConfig[]): Mistake[] {
  return bridges.flatMap((bridge, index) => {
    const other = bridges
      .slice(0, index)
      .findIndex((before) => loops(bridge, before) || loops(before, bridge))
    if (other < 0) return []
    const message = `and bridges.${other} are a loop: what one of them brings, the other one takes back`
    return [{ path: ['bridges', index, 'topics'], message }]
  })
}

function loops(out: BridgeConfig, back: BridgeConfig): boolean {
  if (brokerOf(out) !== brokerOf(back)) return false
  return out.topics.some(
    (there) =>
      isTarget(there, 'remote') &&
      back.topics.some(
        (here) =>
          isTarget(here, 'local') &&
          filtersOverlap(remoteOf(there), remoteOf(here)) &&
          filtersOverlap(out.mountpoint + localOf(there), back.mountpoint + localOf(here)),
      ),
  )
}

const PORTS: Readonly<Record<string, string>> = {
  'mqtt:': '1883',
  'mqtts:': '8883',
  'ws:': '80',
  'wss:': '443',
}

function brokerOf({ url }: BridgeConfig): string {
  if (!URL.canParse(url)) return url
  const { protocol, hostname, port } = new URL(url)
  return `${hostname}:${port === '' ? (PORTS[protocol] ?? '') : port}`
}
