/**
 * Who is connected, and whose session is stored: in pages, searched by the broker.
 *
 * @import { View } from '../view.js'
 * @import { ClientSummary } from '../../api/resources.ts'
 */
import { h, setText } from '../dom.js'
import { count, dateTime, orMissing, since } from '../format.js'
import { badge, field, select } from '../part.js'
import { createTable } from '../table.js'
import { clientHash, noteQuery } from '../view.js'

const EVERY_MS = 5_000
const LIMIT = 100
/** After the last key of a search. */
const TYPING_MS = 250

/** @type {import('../table.js').Column<ClientSummary>[]} */
const columns = [
  { label: 'Client id', kind: 'name', text: ({ id }) => id },
  {
    label: 'State',
    text: ({ state }) => state,
    node: ({ state }) => badge(state, state === 'connected' ? 'good' : 'plain'),
  },
  { label: 'User', kind: 'text', text: ({ username }) => orMissing(username) },
  {
    label: 'Address',
    kind: 'text',
    text: ({ address }) => orMissing(address),
  },
  { label: 'Listener', kind: 'minor', text: ({ listener }) => orMissing(listener) },
  { label: 'Since', kind: 'minor', text: ({ connectedAt }) => since(connectedAt) },
  { label: 'Subs', kind: 'number', text: ({ subscriptions }) => count(subscriptions) },
  { label: 'Waiting', kind: 'number', text: ({ queuedMessages }) => count(queuedMessages) },
  { label: 'In', kind: 'number minor', text: ({ messagesReceived }) => count(messagesReceived) },
  { label: 'Out', kind: 'number minor', text: ({ messagesSent }) => count(messagesSent) },
]

/** @param {View} view */
export function clientsPage(view) {
  /** Cursors of the pages up to this one; the first has none. @type {string[]} */
  let cursors = ['']
  /** @type {string | null} */
  let next = null
  const search = h('input', {
    type: 'search',
    'data-search': true,
    placeholder: 'id, user name or address',
    value: view.query.get('search'),
    maxlength: 256,
    spellcheck: 'false',
  })
  const state = select(
    [
      ['all', 'all'],
      ['connected', 'connected'],
      ['offline', 'offline'],
    ],
    view.query.get('state') ?? 'all',
  )
  const listener = select([['', 'any']], '')
  const table = createTable({
    label: 'Clients',
    columns,
    keyOf: ({ id, mountpoint }) => `${mountpoint}\n${id}`,
    hrefOf: clientHash,
    empty: 'No client is like that.',
  })
  const pager = createPager(
    () => {
      if (next !== null) cursors.push(next)
      turn.now()
    },
    () => {
      cursors.pop()
      turn.now()
    },
  )

  view.show(
    'Clients',
    h(
      'div',
      { class: 'fields' },
      field('Search', search, 'grow'),
      field('State', state),
      field('Listener', listener),
      pager.element,
    ),
    h('section', { class: 'card flush' }, table.element),
  )

  let asked = 0
  const turn = view.poll(async () => {
    const mine = (asked += 1)
    const filter = { state: state.value, search: search.value, listener: listener.value }
    const page = await view.api.clients({ ...filter, after: cursors.at(-1) ?? '', limit: LIMIT }, view.signal)
    // Something else was asked for in the meantime.
    if (mine !== asked) return
    next = page.next
    table.update(page.items)
    const first = (cursors.length - 1) * LIMIT
    pager.update({ first, shown: page.items.length, total: page.total, hasNext: next !== null })
  }, EVERY_MS)

  const filterChanged = () => {
    asked += 1
    cursors = ['']
    noteQuery('clients', { search: search.value, state: state.value === 'all' ? '' : state.value })
    turn.now()
  }
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let typing
  search.addEventListener('input', () => {
    clearTimeout(typing)
    typing = setTimeout(filterChanged, TYPING_MS)
  })
  state.addEventListener('change', filterChanged)
  listener.addEventListener('change', filterChanged)
  view.api.listeners(view.signal).then(
    (listeners) => {
      for (const name of new Set(listeners.map((one) => one.name)))
        listener.append(h('option', { value: name }, name))
    },
    // The choice stays at "any"; the banner says why.
    () => undefined,
  )
}

/** @param {() => void} onNext @param {() => void} onPrevious */
export function createPager(onNext, onPrevious) {
  const text = h('span', { class: 'muted' })
  const previous = h(
    'button',
    { type: 'button', 'data-previous': true, disabled: true, onclick: onPrevious },
    '‹ Previous',
  )
  const following = h(
    'button',
    { type: 'button', 'data-next': true, disabled: true, onclick: onNext },
    'Next ›',
  )
  return {
    element: h('div', { class: 'pager' }, text, previous, following),
    /** @param {{ first: number, shown: number, total: number | null, hasNext: boolean }} page */
    update({ first, shown, total, hasNext }) {
      const range = shown === 0 ? 'none' : `${count(first + 1)}–${count(first + shown)}`
      setText(text, total === null || shown === 0 ? range : `${range} of ${count(total)}`)
      previous.disabled = first === 0
      following.disabled = !hasNext
    },
  }
}

/** @param {Pick<ClientSummary, 'connectedAt' | 'expiresAt' | 'state'>} client */
export function whenOf({ state, connectedAt, expiresAt }) {
  if (state === 'connected') return `${dateTime(connectedAt)} (${since(connectedAt)})`
  return expiresAt === null ? 'offline, kept without end' : `offline, kept until ${dateTime(expiresAt)}`
}
