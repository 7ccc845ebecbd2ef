/**
 * Packets of a client, or on a topic, as they pass. The trace ends with the page, or by itself when nobody reads it.
 *
 * @import { TracePacket } from '../api/resources.ts'
 * @import { TraceWish } from './api.js'
 * @import { View } from './view.js'
 */
import { fill, h, setText } from './dom.js'
import { bytes, counted, preciseClock, visible } from './format.js'
import { reasonOf } from './notice.js'
import { badge } from './part.js'
import { preview } from './payload.js'

/** Lines that are kept on the page. */
const MOST_LINES = 500
/** Nearer to its end than this, the list goes along with what comes. */
const END_PX = 24

/**
 * @param {View} view
 * @param {() => TraceWish | undefined} wishOf  what to trace; undefined: nothing is asked for yet
 * @param {boolean} showsClient
 */
export function tracePanel(view, wishOf, showsClient) {
  /** @type {{ stop: AbortController, id?: string } | undefined} */
  let running
  let missed = 0
  const list = h('div', {
    class: 'trace',
    role: 'log',
    'aria-live': 'off',
    'aria-label': 'Packets',
    tabindex: '0',
    hidden: true,
  })
  const state = h('span', { class: 'muted', role: 'status' })
  const payload = h('input', { type: 'checkbox' })
  const toggle = h('button', { type: 'button', class: 'primary' }, 'Start trace')
  const clear = h('button', { type: 'button', onclick: () => fill(list) }, 'Clear')

  const start = async () => {
    const wish = wishOf()
    if (!wish) return
    const mine = { stop: new AbortController() }
    running = mine
    const signal = AbortSignal.any([mine.stop.signal, view.signal])
    missed = 0
    fill(list)
    list.hidden = false
    setText(toggle, 'Stop trace')
    setText(state, 'Waiting for packets…')
    try {
      const { id } = await view.api.startTrace({ ...wish, payload: payload.checked })
      signal.addEventListener('abort', () => void view.api.stopTrace(id).catch(() => undefined), {
        once: true,
      })
      // The page was left while the broker answered.
      if (signal.aborted) await view.api.stopTrace(id)
      else await read(id, signal)
      setText(state, 'The broker has ended the trace.')
    } catch (error) {
      setText(state, signal.aborted ? 'Stopped.' : reasonOf(error))
    }
    if (running === mine) running = undefined
    setText(toggle, 'Start trace')
  }

  /** @param {string} id @param {AbortSignal} signal */
  const read = async (id, signal) => {
    let after = ''
    let seen = 0
    for (;;) {
      const batch = await view.api.readTrace(id, after, signal)
      after = batch.next
      seen += batch.packets.length
      missed += batch.missed
      add(batch.packets)
      const lost = missed > 0 ? `, ${counted(missed, 'more')} not shown: too many came` : ''
      if (seen > 0) setText(state, `${counted(seen, 'packet')}${lost}`)
      if (!batch.isOpen) return
    }
  }

  /** @param {readonly TracePacket[]} packets */
  const add = (packets) => {
    const isAtEnd = list.scrollHeight - list.scrollTop - list.clientHeight < END_PX
    list.append(...packets.map((packet) => line(packet, showsClient)))
    while (list.children.length > MOST_LINES) list.firstElementChild?.remove()
    if (isAtEnd) list.scrollTop = list.scrollHeight
  }

  toggle.addEventListener('click', () => {
    if (running) running.stop.abort()
    else void start()
  })
  return h(
    'div',
    {},
    h(
      'div',
      { class: 'row' },
      toggle,
      clear,
      h('label', { class: 'check' }, payload, ' with payloads'),
      state,
    ),
    list,
  )
}

/** @param {TracePacket} packet @param {boolean} showsClient */
function line(packet, showsClient) {
  const { direction, type, topic, qos, retain, dup, messageId, detail, payload } = packet
  const flags = [
    qos !== null && `QoS ${qos}`,
    retain && 'retained',
    dup && 'again',
    messageId !== null && `#${messageId}`,
    detail !== null && visible(detail, 400),
  ].filter((part) => typeof part === 'string')
  return h(
    'p',
    { class: direction },
    h('time', {}, preciseClock(packet.at)),
    h(
      'span',
      { class: 'arrow', title: direction === 'in' ? 'from the client' : 'to the client' },
      direction === 'in' ? '→' : '←',
    ),
    badge(type, type === 'CLOSED' ? 'bad' : 'plain'),
    h(
      'span',
      { class: 'packet' },
      showsClient && h('b', {}, visible(packet.client, 80), ' '),
      topic !== null && h('code', {}, visible(topic)),
      ' ',
      h('span', { class: 'muted' }, [...flags, bytes(packet.bytes)].join(' · ')),
      payload !== null && payload !== '' && h('code', { class: 'payload-line' }, visible(preview(payload))),
    ),
  )
}
