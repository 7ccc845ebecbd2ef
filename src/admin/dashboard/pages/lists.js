/**
 * Pages that are a list: pods, listeners, audit.
 *
 * @import { View } from '../view.js'
 * @import { AuditEntry, Listener, Pod } from '../../api/resources.ts'
 */
import { h } from '../dom.js'
import { bytes, count, duration, orMissing, shortTime, until } from '../format.js'
import { badge } from '../part.js'
import { createTable } from '../table.js'

const EVERY_MS = 5_000
/** A certificate that ends within this is shown in colour. */
const SOON_MS = 21 * 86_400_000

/** @param {View} view */
export function podsPage(view) {
  /** @type {ReturnType<typeof createTable<Pod>>} */
  const table = createTable({
    label: 'Pods',
    columns: [
      { label: 'Pod', kind: 'name', text: ({ name, isSelf }) => (isSelf ? `${name} (answers you)` : name) },
      { label: 'State', text: (pod) => stateOf(pod).join(' '), node: (pod) => badge(...stateOf(pod)) },
      { label: 'Connections', kind: 'number', text: ({ connected }) => count(connected) },
      { label: 'Memory', kind: 'number', text: ({ memoryBytes }) => bytes(memoryBytes) },
      { label: 'Up', text: ({ uptimeSeconds }) => duration(uptimeSeconds) },
      {
        label: 'Last heard',
        text: ({ silentMs, isSelf }) => (isSelf ? 'now' : `${duration(silentMs / 1_000)} ago`),
      },
      { label: 'Version', kind: 'minor', text: ({ version }) => orMissing(version) },
      { label: 'Id', kind: 'text minor', text: ({ id }) => id },
    ],
    keyOf: ({ id }) => id,
    empty: 'No pod answers.',
  })
  view.show('Pods', h('section', { class: 'card flush' }, table.element))
  view.poll(async () => table.update(await view.api.pods(view.signal)), EVERY_MS)
}

/** @param {Pod} pod @returns {[text: string, mood: 'good' | 'bad' | 'warn' | 'plain']} */
function stateOf({ isReady, isDraining }) {
  if (isDraining) return ['draining', 'warn']
  if (isReady === null) return ['no answer', 'bad']
  return isReady ? ['ready', 'good'] : ['not ready', 'bad']
}

/** @param {View} view */
export function listenersPage(view) {
  /** @type {ReturnType<typeof createTable<Listener>>} */
  const table = createTable({
    label: 'Listeners',
    columns: [
      { label: 'Listener', kind: 'name', text: ({ name }) => name },
      { label: 'Address', kind: 'text', text: ({ url }) => url },
      { label: 'Type', text: ({ type }) => type },
      { label: 'Connections', kind: 'number', text: ({ connections }) => count(connections) },
      { label: 'Accepted', kind: 'number', text: ({ accepted }) => count(accepted) },
      { label: 'In', kind: 'number minor', text: ({ bytesReceived }) => bytes(bytesReceived) },
      { label: 'Out', kind: 'number minor', text: ({ bytesSent }) => bytes(bytesSent) },
      { label: 'PROXY', kind: 'minor', text: ({ proxyProtocol }) => orMissing(proxyProtocol) },
      { label: 'Mountpoint', kind: 'text minor', text: ({ mountpoint }) => orMissing(mountpoint) },
      {
        label: 'Certificate',
        text: ({ certificateExpiresAt }) => certificateExpiresAt ?? '–',
        node: certificateOf,
      },
      { label: 'Pod', kind: 'text minor', text: ({ pod }) => pod },
    ],
    keyOf: ({ name, pod }) => `${pod}\n${name}`,
    empty: 'There is no listener.',
  })
  view.show('Listeners', h('section', { class: 'card flush' }, table.element))
  view.poll(async () => table.update(await view.api.listeners(view.signal)), EVERY_MS)
}

/** @param {Listener} listener */
function certificateOf({ certificateExpiresAt }) {
  if (certificateExpiresAt === null) return '–'
  const leftMs = Date.parse(certificateExpiresAt) - Date.now()
  if (leftMs <= 0) return badge('has ended', 'bad')
  const left = `${until(certificateExpiresAt)} left`
  return leftMs < SOON_MS ? badge(left, 'warn') : left
}

/** @param {View} view */
export function auditPage(view) {
  if (!view.session.may('admin')) {
    view.show(
      'Audit',
      h(
        'p',
        { class: 'card muted' },
        'This key may not see it: that needs scope ',
        h('code', {}, 'admin'),
        '.',
      ),
    )
    return
  }
  /** @type {ReturnType<typeof createTable<AuditEntry>>} */
  const table = createTable({
    label: 'Changes made through the API',
    columns: [
      { label: 'When', text: ({ at }) => shortTime(at) },
      { label: 'Key', kind: 'text', text: ({ key }) => key },
      { label: 'From', kind: 'text', text: ({ address }) => address },
      { label: 'Action', text: ({ action }) => action },
      { label: 'What', kind: 'name', text: ({ target }) => orMissing(target) },
      {
        label: 'Outcome',
        text: ({ outcome }) => outcome,
        node: ({ outcome }) => badge(outcome, outcome === 'done' ? 'good' : 'bad'),
      },
      { label: 'Pod', kind: 'text minor', text: ({ pod }) => pod },
    ],
    keyOf: (entry) => Object.values(entry).join('\n'),
    empty: 'Nothing was changed through the API since the start.',
  })
  view.show('Audit', h('section', { class: 'card flush' }, table.element))
  view.poll(async () => table.update(await view.api.audit(view.signal)), EVERY_MS)
}
