import { filterCovered, filtersOverlap, topicMatches } from '../broker/topics.ts'
import { effectiveRules, isUnsafeSubject, type Acl, type AclSubject, type EffectiveRule } from './acl.ts'
import type { RuleExplanation } from './types.ts'

/** Which rule of an access list decides, as mayPublish and maySubscribe do; or that there is none. Pure. */
export function explainAcl(
  acl: Acl,
  file: string,
  subject: AclSubject,
  question: { readonly action: 'publish' | 'subscribe'; readonly topic: string },
): RuleExplanation {
  const { action, topic } = question
  const covers =
    action === 'publish' ? topicMatches : (by: string, filter: string) => filterCovered(filter, by)
  const wanted = action === 'publish' ? 'write' : 'read'
  const rules = effectiveRules(acl, subject)
  const matching = rules.filter(({ filter }) => covers(filter, topic))
  const denied = matching.find(({ rule }) => rule.access === 'deny')
  if (denied !== undefined) return { rule: placeOf(file, denied), reason: meaning(denied, 'denies') }
  const allowed = matching.find(({ rule }) => rule.access === wanted || rule.access === 'readwrite')
  if (allowed !== undefined) {
    const taken = action === 'publish' ? '' : takenAway(rules, topic)
    return { rule: placeOf(file, allowed), reason: meaning(allowed, 'allows') + taken }
  }
  return { rule: file, reason: nothingFits(acl, subject, action) + otherAccess(matching[0], wanted) }
}

function placeOf(file: string, { rule }: EffectiveRule): string {
  return `${file}:${rule.line}: ${rule.text}`
}

function meaning({ rule, filter }: EffectiveRule, verb: string): string {
  return filter === rule.filter ? `the rule ${verb} it` : `the rule, which means ${filter} here, ${verb} it`
}

/** Deliveries that are stopped, though the subscription is granted. */
function takenAway(rules: readonly EffectiveRule[], topic: string): string {
  const denial = rules.find(({ rule, filter }) => rule.access === 'deny' && filtersOverlap(filter, topic))
  return denial === undefined ? '' : `; messages that line ${denial.rule.line} denies are not delivered`
}

function nothingFits(acl: Acl, subject: AclSubject, action: 'publish' | 'subscribe'): string {
  const { username } = subject
  const who = username === undefined ? 'clients without a username' : `user ${JSON.stringify(username)}`
  const what = action === 'publish' ? 'lets the topic be published' : 'covers the filter as a whole'
  const known = username === undefined || acl.users.has(username) ? '' : ' (the file has no such user)'
  const unsafe =
    acl.patterns.length > 0 && isUnsafeSubject(subject)
      ? '; patterns give nothing to a client whose id or username has +, # or /'
      : ''
  return `no rule for ${who}${known} ${what}${unsafe}`
}

function otherAccess(found: EffectiveRule | undefined, wanted: string): string {
  return found === undefined
    ? ''
    : `; line ${found.rule.line} fits, but is for ${found.rule.access}, not ${wanted}`
}
