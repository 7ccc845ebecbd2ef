/** Topic names and filters: MQTT 3.1.1, section 4.7. Pure. */

const PLUS = 0x2b
const HASH = 0x23
const SLASH = 0x2f
const DOLLAR = 0x24

export interface TopicLimits {
  /** UTF-8 bytes. */
  readonly maxBytes: number
  readonly maxLevels: number
}

/** Why a topic name is not acceptable in PUBLISH, or undefined. Strings are already valid UTF-8 without U+0000. */
export function topicNameFault(topic: string, limits: TopicLimits): string | undefined {
  // A handler can have put anything there.
  if (typeof topic !== 'string') return 'the topic is no text'
  if (topic.length === 0) return 'empty topic' // [MQTT-4.7.3-1]
  let levels = 1
  for (let i = 0; i < topic.length; i++) {
    const code = topic.charCodeAt(i)
    if (code === SLASH) levels++
    else if (code === PLUS || code === HASH) return 'wildcard in a topic name' // [MQTT-3.3.2-2]
    else if (code === 0) return 'U+0000 in a topic' // [MQTT-4.7.3-2]
  }
  return sizeFault(topic, levels, limits)
}

/** Why a topic filter is not acceptable in SUBSCRIBE, or undefined. */
export function topicFilterFault(filter: string, limits: TopicLimits): string | undefined {
  if (filter.length === 0) return 'empty topic filter' // [MQTT-4.7.3-1]
  let levels = 1
  const last = filter.length - 1
  for (let i = 0; i <= last; i++) {
    const code = filter.charCodeAt(i)
    if (code === SLASH) levels++
    else if (code === 0) return 'U+0000 in a topic filter' // [MQTT-4.7.3-2]
    else if (code === HASH) {
      if (i !== last || (i > 0 && filter.charCodeAt(i - 1) !== SLASH))
        return "'#' not alone in the last level" // [MQTT-4.7.1-2]
    } else if (code === PLUS) {
      const alone =
        (i === 0 || filter.charCodeAt(i - 1) === SLASH) && (i === last || filter.charCodeAt(i + 1) === SLASH)
      if (!alone) return "'+' not alone in its level" // [MQTT-4.7.1-3]
    }
  }
  return sizeFault(filter, levels, limits)
}

function sizeFault(topic: string, levels: number, limits: TopicLimits): string | undefined {
  if (levels > limits.maxLevels) return `more than ${limits.maxLevels} levels`
  if (topic.length > limits.maxBytes / 3 && Buffer.byteLength(topic) > limits.maxBytes) {
    return `longer than ${limits.maxBytes} bytes`
  }
  return undefined
}

export function hasWildcard(filter: string): boolean {
  return filter.includes('+') || filter.includes('#')
}

/** Does the filter match the topic name? [MQTT-4.7.1-2] [MQTT-4.7.1-3] [MQTT-4.7.2-1] */
export function topicMatches(filter: string, topic: string): boolean {
  if (topic.charCodeAt(0) === DOLLAR && startsWithWildcard(filter)) return false
  const filterLevels = filter.split('/')
  const topicLevels = topic.split('/')
  for (let i = 0; i < filterLevels.length; i++) {
    const level = filterLevels[i]
    if (level === '#') return true
    if (i >= topicLevels.length) return false
    if (level !== '+' && level !== topicLevels[i]) return false
  }
  return filterLevels.length === topicLevels.length
}

/** Is every topic that `filter` matches also matched by `by`? What an access list must ask of a subscription. */
export function filterCovered(filter: string, by: string): boolean {
  // A leading wildcard never reaches `$` topics, so it covers no filter that names one. [MQTT-4.7.2-1]
  if (filter.charCodeAt(0) === DOLLAR && startsWithWildcard(by)) return false
  // Every topic has a first level, so these two match the same.
  if (filter === '#' && by === '+/#') return true
  const filterLevels = filter.split('/')
  const byLevels = by.split('/')
  for (let i = 0; i < byLevels.length; i++) {
    const allowed = byLevels[i]
    if (allowed === '#') return true
    const level = filterLevels[i]
    if (level === undefined || level === '#') return false
    if (allowed !== '+' && allowed !== level) return false
  }
  return filterLevels.length === byLevels.length
}

/** May the two filters match a common topic? */
export function filtersOverlap(a: string, b: string): boolean {
  if (
    a.charCodeAt(0) === DOLLAR ? startsWithWildcard(b) : b.charCodeAt(0) === DOLLAR && startsWithWildcard(a)
  ) {
    return false
  }
  const aLevels = a.split('/')
  const bLevels = b.split('/')
  for (let i = 0; ; i++) {
    const left = aLevels[i]
    const right = bLevels[i]
    if (left === '#' || right === '#') return true
    if (left === undefined || right === undefined) return left === right
    if (left !== '+' && right !== '+' && left !== right) return false
  }
}

function startsWithWildcard(filter: string): boolean {
  const code = filter.charCodeAt(0)
  return code === PLUS || code === HASH
}

/** Namespaces with rules of their own, which come before any handler. */
export function reservedNamespace(topic: string): 'sys' | 'share' | 'tunnel' | undefined {
  if (topic.charCodeAt(0) !== DOLLAR) return undefined
  if (topic === '$SYS' || topic.startsWith('$SYS/')) return 'sys'
  if (topic === '$share' || topic.startsWith('$share/')) return 'share'
  if (topic === '$tunnel' || topic.startsWith('$tunnel/')) return 'tunnel'
  return undefined
}

/** `$share/<group>/<filter>` taken apart (MQTT 5, 4.8.2); undefined for other filters; a string says what is wrong. */
export function parseShare(filter: string): { group: string; filter: string } | string | undefined {
  if (reservedNamespace(filter) !== 'share') return undefined
  const groupEnd = filter.indexOf('/', 7)
  if (groupEnd <= 7) return 'shared subscription without a group or a filter'
  const group = filter.slice(7, groupEnd)
  const inner = filter.slice(groupEnd + 1)
  if (hasWildcard(group)) return 'wildcard in the name of a shared subscription'
  if (inner.length === 0) return 'shared subscription without a filter'
  return { group, filter: inner }
}

/**
 * The status of an agent under another prefix for each mountpoint, so that agents of one are not seen in another;
 * the way back is {@link withoutTunnelMountpoint}. The mountpoint is levels of its own: no filter of the others
 * reaches it.
 */
export function withTunnelMountpoint(topic: string, mountpoint: string): string {
  return `${TUNNEL_ROOT}${mountpoint}/${topic.slice(TUNNEL_ROOT.length)}`
}

export function withoutTunnelMountpoint(topic: string, mountpoint: string): string {
  const prefix = `${TUNNEL_ROOT}${mountpoint}/`
  return topic.startsWith(prefix) ? TUNNEL_ROOT + topic.slice(prefix.length) : topic
}

/** Of a status as it is stored: the agent, and the mountpoint that {@link withTunnelMountpoint} has put there. */
export function parseTunnelStatus(topic: string): { mountpoint: string; agent: string } | undefined {
  const match = /^\$tunnel\/(?:(.*)\/)?([^/]+)\/status$/s.exec(topic)
  return match === null ? undefined : { mountpoint: match[1] ?? '', agent: match[2]! }
}

/** What the topics of tunnels begin with. */
export const TUNNEL_ROOT = '$tunnel/'
