import { filterCovered, topicFilterFault, topicMatches } from '../broker/topics.ts'
import { lineError } from './rights-file.ts'

/** Access lists in the syntax of mosquitto and VerneMQ. Pure. */

export type AclDialect = 'mosquitto' | 'vernemq'
export type Access = 'read' | 'write' | 'readwrite' | 'deny'

export interface Rule {
  readonly access: Access
  readonly filter: string
  /** Where it is, from 1, and as it is written there. */
  readonly line: number
  readonly text: string
}

/** A rule that holds for a client, with what it means to it: `%c`, `%u` and `%m` are replaced in `filter`. */
export interface EffectiveRule {
  readonly rule: Rule
  readonly filter: string
}

export interface Acl {
  /** Rules before the first `user`: for clients without a name (mosquitto) or for all (vernemq). */
  readonly general: readonly Rule[]
  readonly generalForAll: boolean
  readonly users: ReadonlyMap<string, readonly Rule[]>
  readonly patterns: readonly Rule[]
}

/** Whom rights are made for. */
export interface AclSubject {
  readonly clientId: string
  readonly username: string | undefined
  readonly mountpoint: string
}

/** What one client may do: filters. A denial wins over everything. */
export interface AclRights {
  readonly read: readonly string[]
  readonly write: readonly string[]
  readonly deny: readonly string[]
}

const keywords = new Set<string>(['read', 'write', 'readwrite', 'deny'])
const filterLimits = { maxBytes: 65_535, maxLevels: 65_535 }

/** Parses an access list; throws a TunnelMQError that names file and line. */
export function parseAcl(text: string, source: { file: string; dialect: AclDialect }): Acl {
  const general: Rule[] = []
  const patterns: Rule[] = []
  const users = new Map<string, Rule[]>()
  let rules = general
  for (const [index, raw] of text.split('\n').entries()) {
    const fail = (fault: string) => lineError(source.file, index + 1, fault)
    const line = raw.trim()
    if (line === '' || line.startsWith('#')) continue
    const [keyword, rest] = splitWord(line)
    if (keyword === 'user') {
      if (rest === '') throw fail('`user` without a name')
      rules = users.get(rest) ?? []
      users.set(rest, rules)
    } else if (keyword === 'topic' || keyword === 'pattern') {
      const rule = parseRule(rest, source.dialect, keyword)
      if (typeof rule === 'string') throw fail(rule)
      const placed: Rule = { ...rule, line: index + 1, text: line }
      // Patterns hold for every client, also below a `user` line.
      if (keyword === 'pattern') patterns.push(placed)
      else rules.push(placed)
    } else {
      throw fail(`unknown keyword ${JSON.stringify(keyword)}; known are user, topic and pattern`)
    }
  }
  return { general, generalForAll: source.dialect === 'vernemq', users, patterns }
}

function parseRule(
  text: string,
  dialect: AclDialect,
  keyword: 'topic' | 'pattern',
): Pick<Rule, 'access' | 'filter'> | string {
  const [word, rest] = splitWord(text)
  if (word === '') return `\`${keyword}\` without a filter`
  let rule: Pick<Rule, 'access' | 'filter'>
  if (isAccess(word) && rest !== '') rule = { access: word, filter: rest }
  // VerneMQ takes the whole rest as the filter; mosquitto wants the access named before a filter with spaces.
  else if (rest === '' || dialect === 'vernemq') rule = { access: 'readwrite', filter: text }
  else return `unknown access ${JSON.stringify(word)}; known are read, write, readwrite and deny`
  const checked = keyword === 'pattern' ? rule.filter.replace(placeholder, 'x') : rule.filter
  const fault = topicFilterFault(checked, filterLimits)
  return fault === undefined ? rule : `${fault}: ${JSON.stringify(rule.filter)}`
}

function isAccess(word: string): word is Access {
  return keywords.has(word)
}

function splitWord(text: string): [word: string, rest: string] {
  const end = text.search(/[ \t]/)
  return end === -1 ? [text, ''] : [text.slice(0, end), text.slice(end).trim()]
}

const placeholder = /%[cum]/g

/** The rights of one client. */
export function compileRights(acl: Acl, subject: AclSubject): AclRights {
  const read: string[] = []
  const write: string[] = []
  const deny: string[] = []
  forEachRule(acl, subject, ({ access }, filter) => {
    if (access === 'deny') deny.push(filter)
    if (access === 'read' || access === 'readwrite') read.push(filter)
    if (access === 'write' || access === 'readwrite') write.push(filter)
  })
  return { read, write, deny }
}

/** The rules that hold for one client, in the order in which they count. */
export function effectiveRules(acl: Acl, subject: AclSubject): EffectiveRule[] {
  const rules: EffectiveRule[] = []
  forEachRule(acl, subject, (rule, filter) => void rules.push({ rule, filter }))
  return rules
}

function forEachRule(acl: Acl, subject: AclSubject, take: (rule: Rule, filter: string) => void): void {
  const { username } = subject
  if (acl.generalForAll || username === undefined) {
    for (const rule of acl.general) take(rule, rule.filter)
  }
  if (username !== undefined) {
    for (const rule of acl.users.get(username) ?? []) take(rule, rule.filter)
  }
  // CVE-2017-7650: a client named `#` would be given everything by a pattern. As in mosquitto, a client whose id or
  // name can mean more than one level gets nothing from patterns. It is still denied what patterns deny.
  const unsafe = isUnsafeSubject(subject)
  for (const rule of acl.patterns) {
    if (rule.access !== 'deny' && unsafe) continue
    const substituted = substitute(rule.filter, subject)
    if (substituted !== undefined) take(rule, substituted)
  }
}

/** Its client id or its username can mean more than one level of a topic. */
export function isUnsafeSubject({ clientId, username }: AclSubject): boolean {
  return isUnsafe(clientId) || (username !== undefined && isUnsafe(username))
}

function isUnsafe(name: string): boolean {
  return /[+#/]/.test(name)
}

function substitute(filter: string, subject: AclSubject): string | undefined {
  if (subject.username === undefined && filter.includes('%u')) return undefined
  const values: Readonly<Record<string, string>> = {
    '%c': subject.clientId,
    '%u': subject.username ?? '',
    // `%m/x` with the mountpoint `a/` means a/x.
    '%m': subject.mountpoint.replace(/\/$/, ''),
  }
  const made = filter.replace(placeholder, (name) => values[name] ?? name)
  // A client named `$SYS` does not get into namespaces that the rule has not named.
  return made.startsWith('$') && !filter.startsWith('$') ? undefined : made
}

/** May a message with this topic be published? */
export function mayPublish(rights: AclRights, topic: string): boolean {
  return !isDenied(rights, topic) && rights.write.some((filter) => topicMatches(filter, topic))
}

/**
 * May this filter be subscribed to? One rule must cover it as a whole, and no denial may take all of it away;
 * what a denial takes away of it is for {@link isDenied} to stop at each delivery.
 */
export function maySubscribe(rights: AclRights, filter: string): boolean {
  return (
    !rights.deny.some((denied) => filterCovered(filter, denied)) &&
    rights.read.some((allowed) => filterCovered(filter, allowed))
  )
}

export function isDenied(rights: AclRights, topic: string): boolean {
  return rights.deny.some((filter) => topicMatches(filter, topic))
}
