/**
 * The key of this tab: in sessionStorage, gone with the tab (docs/decisions/0010-operate.md).
 *
 * @import { KeyFacts } from '../api/resources.ts'
 * @import { Scope } from '../api/scopes.ts'
 */

const STORED = 'tunnelmq-api-key'

/** @typedef {ReturnType<typeof createSession>} Session */

export function createSession() {
  /** @type {KeyFacts | undefined} */
  let holder
  return {
    get secret() {
      return sessionStorage.getItem(STORED) ?? ''
    },
    /** Undefined until the broker has said whose key it is. */
    get holder() {
      return holder
    },
    /** @param {string} secret */
    keep(secret) {
      sessionStorage.setItem(STORED, secret)
    },
    /** @param {KeyFacts} key */
    opened(key) {
      holder = key
    },
    forget() {
      holder = undefined
      sessionStorage.removeItem(STORED)
    },
    /** `admin` has all of the others. @param {Scope} scope */
    may(scope) {
      const scopes = holder?.scopes ?? []
      return scopes.includes(scope) || scopes.includes('admin')
    },
  }
}
