/**
 * Small parts that several pages show.
 *
 * @import { Child } from './dom.js'
 * @import { Session } from './session.js'
 * @import { Scope } from '../api/scopes.ts'
 */
import { h } from './dom.js'

/** @param {string} text @param {'good' | 'bad' | 'warn' | 'plain'} mood */
export function badge(text, mood) {
  return h('span', { class: `badge ${mood}` }, text)
}

/** @param {string} title @param {...(Child | readonly Child[])} children */
export function card(title, ...children) {
  return h('section', { class: 'card' }, h('h2', {}, title), ...children)
}

/** Names and values. @param {readonly (readonly [string, Child])[]} entries */
export function facts(entries) {
  return h(
    'dl',
    { class: 'facts' },
    entries.map(([name, value]) => h('div', {}, h('dt', {}, name), h('dd', {}, value))),
  )
}

/** A field with its label. @param {string} label @param {HTMLElement} control @param {string} [kind] */
export function field(label, control, kind = '') {
  return h('label', { class: `field ${kind}` }, h('span', {}, label), control)
}

/**
 * @param {readonly (readonly [value: string, text: string])[]} options
 * @param {string} chosen
 */
export function select(options, chosen) {
  const element = h(
    'select',
    {},
    options.map(([value, text]) => h('option', { value, selected: value === chosen }, text)),
  )
  return element
}

/**
 * Buttons of those who may, and for the others a word why there are none.
 *
 * @param {Session} session
 * @param {Scope} scope
 * @param {...Child} buttons
 */
export function forScope(session, scope, ...buttons) {
  if (session.may(scope)) return h('div', { class: 'actions' }, buttons)
  return h('p', { class: 'muted' }, 'This key only shows: changes need scope ', h('code', {}, scope), '.')
}

/** @param {string} label @param {() => void} onclick */
export function dangerButton(label, onclick) {
  return h('button', { type: 'button', class: 'danger', onclick }, label)
}
