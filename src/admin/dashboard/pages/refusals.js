/**
 * What handlers and limits have refused, newest first.
 *
 * @import { View } from '../view.js'
 * @import { Refusal } from '../../api/resources.ts'
 */
import { h } from '../dom.js'
import { orMissing, shortTime } from '../format.js'
import { badge, field, select } from '../part.js'
import { createTable } from '../table.js'
import { clientHash } from '../view.js'

const EVERY_MS = 5_000
const LIMIT = 500

/** @returns {import('../table.js').Column<Refusal>[]} */
export function refusalColumns() {
  return [
    { label: 'When', text: ({ at }) => shortTime(at) },
    { label: 'What', text: ({ point }) => point, node: ({ point }) => badge(point, 'plain') },
    { label: 'Client', kind: 'name', text: ({ client }) => orMissing(client) },
    { label: 'User', kind: 'text minor', text: ({ username }) => orMissing(username) },
    { label: 'Address', kind: 'text', text: ({ address }) => orMissing(address) },
    { label: 'Topic', kind: 'text', text: ({ topic }) => orMissing(topic) },
    {
      label: 'Why',
      kind: 'wide',
      text: ({ handler, reason, times }) =>
        `${handler === null ? '' : `${handler}: `}${reason}${times > 1 ? ` (${times} times)` : ''}`,
    },
  ]
}

/** @param {Refusal} refusal */
export function refusalKey({ at, pod, point, client, address, topic }) {
  return [at, pod, point, client, address, topic].join('\n')
}

/** @param {Refusal} refusal */
export function refusalHash({ client }) {
  return client === null ? '#/refusals' : clientHash({ id: client })
}

/** @param {View} view */
export function refusalsPage(view) {
  const point = select(
    ['', 'connection', 'connect', 'publish', 'subscribe', 'will', 'serve', 'open'].map((value) => [
      value,
      value || 'all',
    ]),
    '',
  )
  const search = h('input', { type: 'search', 'data-search': true, placeholder: 'in these lines' })
  const table = createTable({
    label: 'Refusals',
    columns: refusalColumns(),
    keyOf: refusalKey,
    hrefOf: refusalHash,
    empty: 'Nothing was refused.',
  })
  /** @type {Refusal[]} */
  let refusals = []
  const show = () => {
    const wanted = search.value.toLowerCase()
    table.update(
      refusals.filter(
        (refusal) =>
          (point.value === '' || refusal.point === point.value) &&
          Object.values(refusal).join('\n').toLowerCase().includes(wanted),
      ),
    )
  }
  search.addEventListener('input', show)
  point.addEventListener('change', show)
  view.show(
    'Refusals',
    h('div', { class: 'fields' }, field('Filter', search, 'grow'), field('What', point)),
    h('section', { class: 'card flush' }, table.element),
  )
  view.poll(async () => {
    refusals = await view.api.refusals(LIMIT, view.signal)
    show()
  }, EVERY_MS)
}
