/**
 * Agents, their services, and the streams that go through them, with what passes in a second.
 *
 * @import { View } from '../view.js'
 * @import { Agent, Stream } from '../../api/resources.ts'
 */
import { connectGuide } from '../connect-guide.js'
import { confirmed } from '../dialog.js'
import { fill, h, setText } from '../dom.js'
import { bytes, bytesPerSecond, count, dateTime, duration, orMissing, since, visible } from '../format.js'
import { attempt } from '../notice.js'
import { badge, card, facts } from '../part.js'
import { createThroughput } from '../rates.js'
import { createTable } from '../table.js'
import { clientHash, hashOf } from '../view.js'

const EVERY_MS = 2_000

/** @type {import('../table.js').Column<Agent>[]} */
const agentColumns = [
  { label: 'Agent', kind: 'name', text: ({ name }) => name },
  {
    label: 'State',
    text: ({ isOnline }) => String(isOnline),
    node: ({ isOnline }) => badge(isOnline ? 'online' : 'offline', isOnline ? 'good' : 'plain'),
  },
  {
    label: 'Services',
    kind: 'text',
    text: ({ services }) => services.join(' '),
    node: ({ services }) =>
      h(
        'span',
        { class: 'chips' },
        services.map((name) => h('code', {}, visible(name))),
      ),
  },
  { label: 'Streams', kind: 'number', text: ({ streams }) => count(streams) },
  { label: 'Up', kind: 'number minor', text: ({ bytesUp }) => bytes(bytesUp) },
  { label: 'Down', kind: 'number minor', text: ({ bytesDown }) => bytes(bytesDown) },
  { label: 'Address', kind: 'text minor', text: ({ address }) => orMissing(address) },
  { label: 'Since', text: (agent) => since(agent.since) },
]

/** @param {View} view */
export function tunnelsPage(view) {
  const agents = createTable({
    label: 'Agents',
    columns: agentColumns,
    keyOf: ({ name, mountpoint }) => `${mountpoint}\n${name}`,
    hrefOf: ({ name, mountpoint }) => hashOf('agent', { name, mountpoint }),
    empty: 'No agent has come yet: tunnelmq agent --id NAME --service ssh=127.0.0.1:22',
  })
  const streams = streamTable(view, () => turn.now())
  view.show(
    'Agents and tunnels',
    h('section', { class: 'card flush' }, h('h2', {}, 'Agents'), agents.element),
    h('section', { class: 'card flush' }, h('h2', {}, 'Streams'), streams.element),
  )
  const turn = view.poll(async () => {
    const [agentList, streamList] = await Promise.all([
      view.api.agents(view.signal),
      view.api.streams(view.signal),
    ])
    agents.update(agentList)
    streams.update(streamList)
  }, EVERY_MS)
}

/** One agent, and how to connect to it. @param {View} view */
export function agentPage(view) {
  const name = view.query.get('name') ?? ''
  const mountpoint = view.query.get('mountpoint') ?? ''
  const details = h('div')
  const guide = h('div', {}, 'Loading…')
  const streams = streamTable(view, () => turn.now())
  view.show(
    visible(name, 120),
    h('p', {}, h('a', { href: '#/tunnels' }, 'All agents and tunnels')),
    h('div', { class: 'columns' }, card('How to connect', guide), card('Agent', details)),
    h('section', { class: 'card flush' }, h('h2', {}, 'Streams'), streams.element),
  )
  let shownServices = ''
  const turn = view.poll(async () => {
    const [agents, streamList, listeners] = await Promise.all([
      view.api.agents(view.signal),
      view.api.streams(view.signal),
      shownServices === '' ? view.api.listeners(view.signal) : [],
    ])
    /** @param {{ mountpoint: string }} one */
    const isHere = (one) => one.mountpoint === mountpoint
    const agent = agents.find((one) => one.name === name && isHere(one))
    streams.update(streamList.filter((stream) => stream.agent === name && isHere(stream)))
    if (!agent) {
      fill(details, h('p', { class: 'error' }, 'There is no such agent.'))
      return setText(guide, '–')
    }
    fill(details, agentFacts(agent))
    const services = JSON.stringify(agent.services)
    if (services === shownServices) return
    const urls = listeners.length === 0 ? await view.api.listeners(view.signal) : listeners
    shownServices = services
    fill(guide, connectGuide(agent, urls))
  }, EVERY_MS)
}

/** @param {Agent} agent */
function agentFacts(agent) {
  const { client, mountpoint } = agent
  return facts([
    ['State', badge(agent.isOnline ? 'online' : 'offline', agent.isOnline ? 'good' : 'plain')],
    ['Since', `${dateTime(agent.since)} (${since(agent.since)})`],
    ['Address', orMissing(agent.address)],
    ['User name', orMissing(agent.username)],
    [
      'Client',
      client === null ? '–' : h('a', { href: clientHash({ id: client, mountpoint }) }, visible(client)),
    ],
    ['Pod', orMissing(agent.pod)],
    ['Streams', `${count(agent.streams)}, ${bytes(agent.bytesUp)} up, ${bytes(agent.bytesDown)} down`],
  ])
}

/** @param {View} view @param {() => void} changed */
function streamTable(view, changed) {
  /** @type {ReturnType<typeof createThroughput<Stream>>} */
  const up = createThroughput(
    ({ id }) => id,
    ({ bytesUp }) => bytesUp,
  )
  /** @type {ReturnType<typeof createThroughput<Stream>>} */
  const down = createThroughput(
    ({ id }) => id,
    ({ bytesDown }) => bytesDown,
  )

  /** @param {Stream} stream */
  const cut = async (stream) => {
    const text = `Both ends are told at once; what was on its way is lost. ${visible(stream.client, 80)} may open another one.`
    if (!(await confirmed(`Cut the stream to ${stream.agent}/${stream.service}?`, { text, action: 'Cut' })))
      return
    await attempt(() => view.api.cutStream(stream.id), 'Cut.')
    changed()
  }
  /** @type {import('../table.js').Column<Stream>[]} */
  const columns = [
    { label: 'To', kind: 'name', text: ({ agent, service }) => `${agent}/${service}` },
    {
      label: 'From',
      kind: 'text',
      text: ({ client }) => client,
      node: ({ client, mountpoint }) =>
        h('a', { href: clientHash({ id: client, mountpoint }) }, visible(client, 80)),
    },
    { label: 'Address', kind: 'text minor', text: ({ address }) => orMissing(address) },
    { label: 'Up', kind: 'number', text: (stream) => bytesPerSecond(up.of(stream)) },
    { label: 'Down', kind: 'number', text: (stream) => bytesPerSecond(down.of(stream)) },
    { label: 'In all', kind: 'number minor', text: ({ bytesUp, bytesDown }) => bytes(bytesUp + bytesDown) },
    { label: 'Idle', kind: 'number', text: ({ idleMs }) => duration(idleMs / 1_000) },
    {
      label: 'Since',
      kind: 'minor',
      text: ({ openedAt, state }) => (state === 'opening' ? 'opening' : since(openedAt)),
    },
  ]
  if (view.session.may('write')) {
    columns.push({
      label: '',
      kind: 'actions',
      text: ({ id }) => id,
      node: (stream) =>
        h('button', { type: 'button', class: 'danger', onclick: () => void cut(stream) }, 'Cut'),
    })
  }
  const table = createTable({ label: 'Streams', columns, keyOf: ({ id }) => id, empty: 'No stream is open.' })
  return {
    element: table.element,
    /** @param {readonly Stream[]} streams */
    update(streams) {
      const atMs = performance.now()
      up.look(streams, atMs)
      down.look(streams, atMs)
      table.update(streams)
    },
  }
}
