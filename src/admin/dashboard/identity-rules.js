/**
 * The rules of a role as lines: `allow publish,subscribe devices/%u/#`. Pure.
 *
 * @import { RoleRule } from '../api/identity-resources.ts'
 */

/** @param {readonly RoleRule[]} rules */
export function rulesText(rules) {
  return rules
    .map(({ allow, actions, on }) => `${allow ? 'allow' : 'deny'} ${actions.join(',')} ${on}`)
    .join('\n')
}

/** Throws with the number of the line that is none. @param {string} text @returns {RoleRule[]} */
export function readRules(text) {
  return text.split('\n').flatMap((line, index) => {
    if (line.trim() === '') return []
    const [, verb, actions = '', on = ''] = /^\s*(allow|deny)\s+([a-z,]+)\s+(.*\S)\s*$/.exec(line) ?? []
    if (verb === undefined) throw new Error(`Line ${index + 1} is not: allow|deny ACTIONS TOPIC`)
    // The broker says which actions there are.
    return [{ allow: verb === 'allow', actions: /** @type {RoleRule['actions']} */ (actions.split(',')), on }]
  })
}

/** Names with commas or spaces between. @param {string} text */
export function readNames(text) {
  return text.split(/[\s,]+/).filter((name) => name !== '')
}
