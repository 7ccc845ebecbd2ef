/**
 * Payloads: bytes that somebody sent, as text, as JSON, or as what they are.
 *
 * @import { MessageProperties } from '../api/resources.ts'
 */
import { fill, h } from './dom.js'
import { bytes, visible } from './format.js'

/** Of a dump; a browser takes long over more. */
const MOST_DUMPED = 16_384

/** @param {string} base64 */
export function decode(base64) {
  return Uint8Array.from(atob(base64), (character) => character.charCodeAt(0))
}

/** Undefined: it is no UTF-8, or holds what no text has. @param {Uint8Array} data */
export function textOf(data) {
  try {
    const text = new TextDecoder('utf-8', { fatal: true }).decode(data)
    // eslint-disable-next-line no-control-regex
    return /[\u0000-\u0008\u000e-\u001a\u001c-\u001f\u007f]/.test(text) ? undefined : text
  } catch {
    return undefined
  }
}

/** Indented; undefined: it is no JSON of more than one word. @param {string} text */
export function prettyJson(text) {
  if (!/^\s*[[{]/.test(text)) return undefined
  try {
    return JSON.stringify(JSON.parse(text), null, 2)
  } catch {
    return undefined
  }
}

/** `00000000  68 65 6c 6c 6f  |hello|`, sixteen bytes a line. @param {Uint8Array} data */
export function hexDump(data) {
  const lines = []
  for (let at = 0; at < Math.min(data.length, MOST_DUMPED); at += 16) {
    const part = [...data.subarray(at, at + 16)]
    const hex = part.map((byte) => byte.toString(16).padStart(2, '0')).join(' ')
    const text = part.map((byte) => (byte >= 32 && byte < 127 ? String.fromCharCode(byte) : '.')).join('')
    lines.push(`${at.toString(16).padStart(8, '0')}  ${hex.padEnd(47)}  |${text}|`)
  }
  if (data.length > MOST_DUMPED) lines.push(`… ${bytes(data.length - MOST_DUMPED)} more`)
  return lines.join('\n')
}

/** One line for a table. @param {string} base64 */
export function preview(base64) {
  if (base64 === '') return ''
  const data = decode(base64.slice(0, 160))
  // The cut may go through a character.
  for (let end = data.length; end > data.length - 4 && end > 0; end--) {
    const text = textOf(data.subarray(0, end))
    if (text !== undefined) return text.replaceAll(/\s+/g, ' ')
  }
  return [...data.subarray(0, 24)].map((byte) => byte.toString(16).padStart(2, '0')).join(' ')
}

/**
 * What MQTT 5 says about a message.
 *
 * @param {MessageProperties | null} properties
 * @returns {[string, Node][]}
 */
export function propertyFacts(properties) {
  if (!properties) return []
  const { contentType, responseTopic, correlationData, userProperties } = properties
  /** @type {[string, string | null][]} */
  const all = [
    ['Content type', contentType],
    ['Response topic', responseTopic],
    ['Correlation data', correlationData && preview(correlationData)],
    ...userProperties.map(
      ({ name, value }) => /** @type {[string, string]} */ ([`“${visible(name, 40)}”`, value]),
    ),
  ]
  return all.flatMap(([name, text]) => (text === null ? [] : [[name, h('code', {}, visible(text, 600))]]))
}

/** @param {{ payload: string, bytes: number, payloadIsWhole: boolean }} message */
export function payloadView({ payload, bytes: size, payloadIsWhole }) {
  const data = decode(payload)
  const text = textOf(data)
  const json = text === undefined ? undefined : prettyJson(text)
  /** @type {[string, string | undefined][]} */
  const views = [
    ['JSON', json],
    ['Text', text],
    ['Hex', hexDump(data)],
  ]
  const pre = h('pre', { class: 'payload', tabindex: '0' })
  const buttons = views.map(([name, content]) =>
    h('button', { type: 'button', disabled: content === undefined, onclick: () => show(name) }, name),
  )
  /** @param {string} name */
  const show = (name) => {
    fill(pre, views.find(([candidate]) => candidate === name)?.[1] ?? '')
    for (const button of buttons) button.setAttribute('aria-pressed', String(button.textContent === name))
  }
  show(views.find(([, content]) => content !== undefined)?.[0] ?? 'Hex')
  const what = payloadIsWhole ? bytes(size) : `the first ${bytes(data.length)} of ${bytes(size)}`
  return h(
    'div',
    {},
    h(
      'div',
      { class: 'row' },
      h('div', { class: 'choices', role: 'group', 'aria-label': 'Show the payload as' }, buttons),
      h('span', { class: 'muted' }, size === 0 ? 'empty' : what),
    ),
    size === 0 ? null : pre,
  )
}
