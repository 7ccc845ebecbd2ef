/**
 * What a page is given: where to write, whom to ask, and until when.
 *
 * @import { Api } from './api.js'
 * @import { Child } from './dom.js'
 * @import { Feed } from './feed.js'
 * @import { Session } from './session.js'
 *
 * @typedef {object} View
 * @property {Api} api
 * @property {Session} session
 * @property {Feed} feed
 * @property {URLSearchParams} query  behind the `?` of the hash
 * @property {AbortSignal} signal  aborted when the page is left
 * @property {(title: string, ...children: Child[]) => void} show  heading and content
 * @property {(work: () => Promise<unknown>, everyMs: number) => { now(): void }} poll  until the page is left
 *
 * @typedef {(view: View) => void} PageFunction
 */

/** The hash of a page. @param {string} page @param {Record<string, string>} [query] */
export function hashOf(page, query = {}) {
  const given = Object.entries(query).filter(([, value]) => value !== '')
  return given.length === 0 ? `#/${page}` : `#/${page}?${new URLSearchParams(given)}`
}

/** @param {{ id: string, mountpoint?: string }} client */
export function clientHash({ id, mountpoint = '' }) {
  return hashOf('client', { id, mountpoint })
}

/**
 * Changes the query of the page that is open, without opening it anew.
 *
 * @param {string} page
 * @param {Record<string, string>} query
 */
export function noteQuery(page, query) {
  history.replaceState(null, '', hashOf(page, query))
}
