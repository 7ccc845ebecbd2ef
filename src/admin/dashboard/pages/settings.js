/**
 * Log level, drain, the configuration in force, and this key.
 *
 * @import { View } from '../view.js'
 */
import { copyable } from '../copy.js'
import { confirmed } from '../dialog.js'
import { fill, h, setText } from '../dom.js'
import { count, dateTime, duration, since } from '../format.js'
import { attempt, reasonOf } from '../notice.js'
import { badge, card, dangerButton, facts, field, forScope, select } from '../part.js'

const EVERY_MS = 3_000
const LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'silent']

/** @param {View} view */
export function settingsPage(view) {
  const config = h('div', {}, 'Loading…')
  view.show(
    'Settings',
    h('div', { class: 'columns' }, drainCard(view), h('div', {}, logCard(view), keyCard(view))),
    card('Configuration in force, without secrets', config),
  )
  view.api.config().then(
    (effective) => fill(config, copyable(JSON.stringify(effective, null, 2), 'the configuration')),
    (error) => fill(config, h('p', { class: 'error' }, reasonOf(error))),
  )
}

/** @param {View} view */
function logCard(view) {
  const level = select(
    LEVELS.map((name) => [name, name]),
    'info',
  )
  const change = () => attempt(() => view.api.setLogLevel(level.value), `The log level is ${level.value}.`)
  const set = h('button', { type: 'button', onclick: change }, 'Set')
  const now = h('b', {}, '–')
  view.api.logLevel(view.signal).then(
    (current) => {
      setText(now, current.level)
      level.value = current.level
    },
    () => undefined,
  )
  return card(
    'Log level',
    h('p', {}, 'It is ', now, '. A change holds until the next start; the configuration is not written.'),
    forScope(view.session, 'admin', field('Log from', level), set),
  )
}

/** @param {View} view */
function drainCard(view) {
  const state = h('div', {}, '–')
  const spread = select(
    [
      ['0', 'at once'],
      ['30000', 'over 30 seconds'],
      ['300000', 'over 5 minutes'],
      ['1800000', 'over half an hour'],
    ],
    '30000',
  )
  const drain = async () => {
    const text =
      'No new connections are taken, /ready says no, and the clients are sent away, spread over the time that you chose. The process goes on; you can take it back.'
    if (!(await confirmed('Drain this pod?', { text, action: 'Drain' }))) return
    await attempt(() => view.api.drain(Number(spread.value)), 'Draining.')
    view.feed.now()
    turn.now()
  }
  const accept = async () => {
    await attempt(() => view.api.undrain(), 'Connections are accepted again.')
    view.feed.now()
    turn.now()
  }
  const undrain = h('button', { type: 'button', class: 'primary', onclick: accept }, 'Accept again')
  const start = dangerButton('Drain', () => void drain())
  const turn = view.poll(async () => {
    const { isDraining, connections, startedAt } = await view.api.drainState(view.signal)
    fill(
      state,
      badge(isDraining ? 'draining' : 'accepts connections', isDraining ? 'warn' : 'good'),
      ` ${count(connections)} connections are open`,
      startedAt !== null && `, since ${since(startedAt)}`,
    )
    undrain.hidden = !isDraining
    start.hidden = isDraining
  }, EVERY_MS)
  return card(
    'Drain',
    state,
    forScope(view.session, 'admin', field('Send clients away', spread), start, undrain),
  )
}

/** @param {View} view */
function keyCard({ session }) {
  const key = session.holder
  const end = key?.expiresAt
  return card(
    'Your key',
    facts([
      ['Name', key?.name ?? '–'],
      [
        'Scopes',
        h(
          'span',
          { class: 'chips' },
          (key?.scopes ?? []).map((scope) => h('code', {}, scope)),
        ),
      ],
      [
        'Ends',
        end
          ? `${dateTime(end)} (in ${duration((Date.parse(end) - Date.now()) / 1_000)})`
          : key?.isLocal
            ? 'with the broker'
            : 'never',
      ],
    ]),
    h('p', { class: 'muted' }, 'It is kept in this tab only, and forgotten with it.'),
  )
}
