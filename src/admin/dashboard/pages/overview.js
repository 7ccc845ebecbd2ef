/**
 * What the broker does now.
 *
 * @import { View } from '../view.js'
 * @import { Overview, Refusal } from '../../api/resources.ts'
 */
import { createChart } from '../chart.js'
import { h, setText } from '../dom.js'
import { bytes, bytesPerSecond, count, counted, duration, rate } from '../format.js'
import { createTable } from '../table.js'
import { refusalColumns, refusalHash, refusalKey } from './refusals.js'

const REFUSALS_EVERY_MS = 10_000
const REFUSALS = 5

/** @type {readonly (readonly [label: string, page: string, read: (overview: Overview) => string, more: (overview: Overview) => string])[]} */
const TILES = [
  [
    'Clients',
    'clients',
    (o) => count(o.sessionsConnected),
    (o) => counted(o.sessionsStored, 'stored session'),
  ],
  [
    'Subscriptions',
    'clients',
    (o) => count(o.subscriptions),
    (o) => `${counted(o.totals.messagesDropped, 'message')} dropped`,
  ],
  [
    'Waiting',
    'clients',
    (o) => count(o.queuedMessages),
    (o) => `${bytes(o.queuedBytes)}, ${count(o.inflightMessages)} in flight`,
  ],
  ['Retained', 'topics', (o) => count(o.retainedMessages), (o) => bytes(o.retainedBytes)],
  [
    'Streams',
    'tunnels',
    (o) => count(o.streams),
    (o) => `${counted(o.agents, 'agent')}, ${bytes(o.totals.streamBytes)}`,
  ],
  [
    'Refused',
    'refusals',
    (o) => count(o.totals.connectionsRefused + o.totals.handlerRefusals),
    (o) => `${count(o.bannedAddresses)} banned`,
  ],
]

/** @param {View} view */
export function overviewPage(view) {
  const tiles = TILES.map(([label, page, read, more]) => {
    const value = h('b', {}, '–')
    const note = h('small', {}, ' ')
    return {
      read,
      more,
      value,
      note,
      element: h('a', { class: 'tile', href: `#/${page}` }, h('span', {}, label), value, note),
    }
  })
  const about = h('p', { class: 'muted about' })
  const charts = [
    createChart({
      title: 'Messages per second',
      series: [
        { label: 'in', read: ({ messagesIn }) => messagesIn },
        { label: 'out', read: ({ messagesOut }) => messagesOut },
      ],
      format: rate,
    }),
    createChart({
      title: 'Bytes per second',
      series: [
        { label: 'in', read: ({ bytesIn }) => bytesIn },
        { label: 'out', read: ({ bytesOut }) => bytesOut },
      ],
      format: bytes,
      smallestTop: 100,
    }),
    createChart({
      title: 'Connections',
      series: [{ label: 'open', read: ({ connections }) => connections }],
      format: count,
      smallestTop: 2,
    }),
    createChart({
      title: 'Dropped and refused per second',
      series: [
        { label: 'dropped', read: ({ dropped }) => dropped },
        { label: 'refused', read: ({ refused }) => refused },
      ],
      format: rate,
    }),
    createChart({
      title: 'Through tunnels, per second',
      series: [{ label: 'bytes', read: ({ streamBytes }) => streamBytes }],
      format: bytes,
      smallestTop: 100,
    }),
    createChart({
      title: 'CPU',
      series: [{ label: 'cores', read: ({ cpu }) => cpu }],
      format: rate,
      smallestTop: 0.1,
    }),
  ]
  /** @type {ReturnType<typeof createTable<Refusal>>} */
  const refusals = createTable({
    label: 'Last refusals',
    columns: refusalColumns(),
    keyOf: refusalKey,
    hrefOf: refusalHash,
    empty: 'Nothing was refused.',
  })

  view.show(
    'Overview',
    about,
    h(
      'div',
      { class: 'tiles' },
      tiles.map(({ element }) => element),
    ),
    h(
      'div',
      { class: 'charts' },
      charts.map(({ element }) => element),
    ),
    h(
      'section',
      { class: 'card flush' },
      h('h2', {}, h('a', { href: '#/refusals' }, 'Last refusals')),
      refusals.element,
    ),
  )

  view.feed.listen(() => {
    const { overview, samples } = view.feed
    if (!overview) return
    for (const { read, more, value, note } of tiles) {
      setText(value, read(overview))
      setText(note, more(overview))
    }
    for (const chart of charts) chart.update(samples)
    const last = samples.at(-1)
    const pods = overview.podCount > 1 ? ` · ${overview.podCount} pods` : ''
    const traffic =
      last === undefined ? '' : ` · ${bytesPerSecond(last.bytesIn)} in, ${bytesPerSecond(last.bytesOut)} out`
    setText(
      about,
      `TunnelMQ ${overview.version}${pods} · up ${duration(overview.uptimeSeconds)} · ${bytes(overview.memoryBytes)} of memory${traffic}`,
    )
  }, view.signal)
  view.poll(async () => refusals.update(await view.api.refusals(REFUSALS, view.signal)), REFUSALS_EVERY_MS)
}
