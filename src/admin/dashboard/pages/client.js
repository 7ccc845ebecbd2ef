/**
 * One client: what it is, what it has subscribed to, what waits for it, why, and its packets.
 *
 * @import { View } from '../view.js'
 * @import { ClientDetail, ClientRef, QueueEntry } from '../../api/resources.ts'
 */
import { confirmed, openDialog } from '../dialog.js'
import { fill, h, setText } from '../dom.js'
import { bytes, count, counted, duration, orMissing, visible } from '../format.js'
import { attempt, reasonOf } from '../notice.js'
import { badge, card, dangerButton, facts, forScope } from '../part.js'
import { payloadView, preview, propertyFacts } from '../payload.js'
import { ApiError } from '../request.js'
import { createTable } from '../table.js'
import { tracePanel } from '../trace.js'
import { whyForm } from '../why.js'
import { hashOf } from '../view.js'
import { whenOf } from './clients.js'

const EVERY_MS = 3_000

/** @param {View} view */
export function clientPage(view) {
  const ref = { id: view.query.get('id') ?? '', mountpoint: view.query.get('mountpoint') ?? '' }
  const state = h('span')
  const details = h('div')
  const gone = h('p', { class: 'error', hidden: true })
  const will = h('div')
  /** @type {ReturnType<typeof createTable<ClientDetail['subscriptionList'][number]>>} */
  const subscriptions = createTable({
    label: 'Subscriptions',
    columns: [
      { label: 'Filter', kind: 'name', text: ({ filter }) => filter },
      { label: 'QoS', kind: 'number', text: ({ qos }) => String(qos) },
      { label: 'Share group', text: ({ shareGroup }) => orMissing(shareGroup) },
      { label: 'Options', text: (subscription) => orMissing(optionsOf(subscription)) },
    ],
    keyOf: ({ filter, shareGroup }) => `${shareGroup ?? ''}\n${filter}`,
    empty: 'It has subscribed to nothing.',
  })
  /** @type {ClientDetail | undefined} */
  let client

  const disconnect = async () => {
    const words = {
      text: 'Its connection is closed. Most clients connect again by themselves; ban the address to keep one away.',
      action: 'Disconnect',
    }
    if (!(await confirmed(`Disconnect ${visible(ref.id, 60)}?`, words))) return
    await attempt(() => view.api.disconnect(ref), 'Disconnected.')
    turn.now()
  }
  const remove = async () => {
    const waiting = client?.queuedMessages
      ? `, and ${counted(client.queuedMessages, 'message')} that wait for it are lost`
      : ''
    const text = `Its connection is closed, its subscriptions are forgotten${waiting}. This cannot be undone.`
    if (
      !(await confirmed(`Remove the session of ${visible(ref.id, 60)}?`, { text, action: 'Remove session' }))
    )
      return
    if (await attempt(() => view.api.removeSession(ref), 'Session removed.')) location.hash = '#/clients'
  }
  const disconnectButton = dangerButton('Disconnect', () => void disconnect())

  view.show(
    visible(ref.id, 120),
    h(
      'div',
      { class: 'row between' },
      h('p', {}, state, h('a', { href: '#/clients' }, 'All clients')),
      forScope(
        view.session,
        'write',
        disconnectButton,
        dangerButton('Remove session', () => void remove()),
      ),
    ),
    gone,
    h(
      'div',
      { class: 'columns' },
      card('Connection and session', details),
      h(
        'div',
        {},
        h('section', { class: 'card flush' }, h('h2', {}, 'Subscriptions'), subscriptions.element),
        card('Will', will),
      ),
    ),
    queueCard(view, ref),
    ...insights(view, ref),
  )

  const turn = view.poll(async () => {
    try {
      client = await view.api.client(ref, view.signal)
    } catch (error) {
      if (!(error instanceof ApiError) || error.status !== 404) throw error
      client = undefined
    }
    gone.hidden = client !== undefined
    disconnectButton.disabled = client?.state !== 'connected'
    if (!client) {
      setText(gone, 'There is no such client: it is not connected, and no session of it is stored.')
      fill(state)
      fill(details)
      subscriptions.update([])
      return
    }
    fill(state, badge(client.state, client.state === 'connected' ? 'good' : 'plain'), ' ')
    fill(details, factsOf(client))
    fill(will, willOf(client))
    subscriptions.update(client.subscriptionList)
  }, EVERY_MS)
}

/**
 * Of MQTT 5, and only what is not as in MQTT 3.1.1.
 *
 * @param {ClientDetail['subscriptionList'][number]} subscription
 */
function optionsOf({ noLocal, retainAsPublished, retainHandling, subscriptionIdentifier }) {
  const retained = ['', 'retained if new', 'none retained'][retainHandling]
  const identifier = subscriptionIdentifier === null ? '' : `id ${subscriptionIdentifier}`
  const said = [noLocal && 'no local', retainAsPublished && 'retain as published', retained, identifier]
  return said.filter(Boolean).join(', ') || null
}

/** @param {View} view @param {ClientRef} ref */
function insights(view, ref) {
  if (!view.session.may('trace')) {
    return [
      card(
        'Why, and trace',
        h('p', { class: 'muted' }, 'This key only shows: both need scope ', h('code', {}, 'trace'), '.'),
      ),
    ]
  }
  return [
    card('Why may it, or may it not?', whyForm(view, ref)),
    card(
      'Trace',
      tracePanel(view, () => ({ client: ref.id, mountpoint: ref.mountpoint }), false),
    ),
  ]
}

/** @param {ClientDetail} client */
function factsOf(client) {
  const { address, port, proxiedBy, tls, certificate } = client
  /** @type {[string, string | Node | null][]} */
  const all = [
    ['Address', address === null ? '–' : `${address}${port === null ? '' : `, port ${port}`}`],
    ['Told by proxy', proxiedBy],
    ['User name', orMissing(client.username)],
    ['Listener', client.listener === null ? null : `${client.listener} (${client.transport ?? '?'})`],
    ['Mountpoint', client.mountpoint === '' ? null : visible(client.mountpoint)],
    ['MQTT', client.protocolVersion],
    ['Pod', client.pod],
    ['Session', client.cleanSession ? 'clean, gone with the connection' : 'stored'],
    [client.state === 'connected' ? 'Connected since' : 'State', whenOf(client)],
    [
      'Keep-alive',
      client.keepaliveSeconds === null
        ? null
        : client.keepaliveSeconds === 0
          ? 'off'
          : duration(client.keepaliveSeconds),
    ],
    ['In', `${counted(client.messagesReceived, 'message')}, ${bytes(client.bytesReceived)}`],
    ['Out', `${counted(client.messagesSent, 'message')}, ${bytes(client.bytesSent)}`],
    [
      'In flight',
      `${count(client.inflightMessages)}, and ${count(client.awaitedReleases)} that await PUBREL`,
    ],
    ['Waiting', `${counted(client.queuedMessages, 'message')}, ${bytes(client.queuedBytes)}`],
    ['Agreed', client.mqtt5 && termsOf(client.mqtt5)],
    [
      'User properties',
      client.mqtt5 &&
        (client.mqtt5.userProperties.map(({ name, value }) => visible(`${name}=${value}`)).join(', ') ||
          null),
    ],
    ['TLS', tls && `${tls.version}, ${tls.cipher}`],
    [
      'Certificate',
      certificate &&
        visible(`${certificate.subject}, by ${certificate.issuer}, serial ${certificate.serial}`, 600),
    ],
    ['Fingerprint', certificate?.fingerprint ?? null],
    [
      'Agent',
      client.serves &&
        h(
          'a',
          { href: hashOf('agent', { name: client.serves, mountpoint: client.mountpoint }) },
          client.serves,
        ),
    ],
  ]
  return facts(all.filter(([, value]) => value !== null))
}

/** What holds of what a client of MQTT 5 has asked for. @param {NonNullable<ClientDetail['mqtt5']>} asked */
function termsOf({ sessionExpirySeconds, receiveMaximum, maximumPacketBytes, topicAliasMaximum }) {
  const kept =
    sessionExpirySeconds === null ? 'that its session stays' : `session for ${duration(sessionExpirySeconds)}`
  const packets = maximumPacketBytes === null ? '' : `, packets of ${bytes(maximumPacketBytes)} at most`
  return `${kept}, ${count(receiveMaximum)} messages at once, ${count(topicAliasMaximum)} topic aliases${packets}`
}

/** @param {ClientDetail} client */
function willOf({ will }) {
  if (!will) return h('p', { class: 'muted' }, 'None.')
  const delay =
    will.delaySeconds > 0 ? `, ${duration(will.delaySeconds)} after the end of the connection` : ''
  const how = `QoS ${will.qos}${will.retain ? ', retained' : ''}, ${bytes(will.bytes)}${delay}`
  return h('p', {}, h('code', {}, visible(will.topic)), ' ', h('span', { class: 'muted' }, how))
}

/** What waits for a stored session; asked for only when somebody wants to know. @param {View} view @param {ClientRef} ref */
function queueCard(view, ref) {
  /** @type {QueueEntry[]} */
  let entries = []
  /** @type {string | null} */
  let next = null
  const table = createTable({
    label: 'Messages that wait',
    columns: [
      { label: 'Topic', kind: 'name', text: ({ topic }) => topic },
      { label: 'QoS', kind: 'number', text: ({ qos }) => String(qos) },
      { label: 'State', text: ({ isInflight }) => (isInflight ? 'in flight' : 'waits') },
      { label: 'Bytes', kind: 'number', text: (entry) => bytes(entry.bytes) },
      { label: 'Payload', kind: 'wide', text: ({ payload }) => preview(payload) },
    ],
    keyOf: /** @param {QueueEntry} entry */ ({ seq }) => String(seq),
    onOpen: (entry) =>
      void openDialog(visible(entry.topic, 120), {
        body: [facts(propertyFacts(entry.properties)), payloadView(entry)],
      }),
    empty: 'Nothing waits.',
  })
  const note = h('p', { class: 'error', hidden: true })
  const more = h('button', { type: 'button', hidden: true, onclick: () => void load() }, 'More')
  const load = async () => {
    note.hidden = true
    try {
      const page = await view.api.queue(ref, next ?? '')
      entries = [...(next === null ? [] : entries), ...page.items]
      next = page.next
      table.update(entries)
    } catch (error) {
      const isThereNone = error instanceof ApiError && error.status === 404
      setText(note, isThereNone ? 'It has no stored session: nothing waits.' : reasonOf(error))
      note.hidden = false
    }
    table.element.hidden = !note.hidden
    more.hidden = next === null
  }
  const refresh = () => {
    next = null
    void load()
  }
  table.element.hidden = true
  return h(
    'section',
    { class: 'card flush' },
    h(
      'header',
      { class: 'row between' },
      h('h2', {}, 'Waiting messages'),
      h('button', { type: 'button', onclick: refresh }, 'Show'),
    ),
    note,
    table.element,
    more,
  )
}
