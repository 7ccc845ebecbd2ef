/**
 * Addresses that may not connect, for a time.
 *
 * @import { View } from '../view.js'
 * @import { Ban } from '../../api/resources.ts'
 */
import { confirmed } from '../dialog.js'
import { h } from '../dom.js'
import { dateTime, orMissing, until } from '../format.js'
import { attempt } from '../notice.js'
import { field, forScope, select } from '../part.js'
import { createTable } from '../table.js'

const EVERY_MS = 5_000

/** @param {View} view */
export function bansPage(view) {
  /** @type {import('../table.js').Column<Ban>[]} */
  const columns = [
    { label: 'Address', kind: 'name', text: ({ address }) => address },
    { label: 'Ends in', text: (ban) => until(ban.until) },
    { label: 'Until', text: (ban) => dateTime(ban.until) },
    { label: 'Pod', kind: 'text minor', text: ({ pod }) => orMissing(pod) },
  ]
  if (view.session.may('write')) {
    columns.push({
      label: '',
      kind: 'actions',
      text: ({ address }) => address,
      node: ({ address }) => h('button', { type: 'button', onclick: () => void unban(address) }, 'Lift'),
    })
  }
  const table = createTable({
    label: 'Bans',
    columns,
    keyOf: ({ address, pod }) => `${pod}\n${address}`,
    empty: 'No address is banned.',
  })
  const address = h('input', {
    required: true,
    class: 'mono',
    placeholder: '192.0.2.7 or 2001:db8::7',
    spellcheck: 'false',
    autocomplete: 'off',
    'data-search': true,
  })
  const seconds = select(
    [
      ['600', '10 minutes'],
      ['3600', 'an hour'],
      ['86400', 'a day'],
      ['604800', 'a week'],
      ['31536000', 'a year'],
    ],
    '3600',
  )

  /** @param {string} banned */
  const unban = async (banned) => {
    const words = { text: 'It may connect again at once.', action: 'Lift the ban' }
    if (!(await confirmed(`Lift the ban of ${banned}?`, words))) return
    await attempt(() => view.api.unban(banned), 'Lifted.')
    turn.now()
  }
  /** @param {Event} event */
  const onsubmit = async (event) => {
    event.preventDefault()
    const wanted = address.value.trim()
    const words = {
      text: 'Its connections are refused; if it is a proxy or a NAT, so are all behind it.',
      action: 'Ban',
    }
    if (!(await confirmed(`Ban ${wanted}?`, words))) return
    const isDone = await attempt(
      () => view.api.ban({ address: wanted, seconds: Number(seconds.value) }),
      `${wanted} is banned.`,
    )
    if (isDone) address.value = ''
    turn.now()
  }
  const form = h(
    'form',
    { class: 'fields', onsubmit },
    field('Address', address, 'grow'),
    field('For', seconds),
    h('button', { type: 'submit', class: 'danger' }, 'Ban'),
  )
  view.show(
    'Bans',
    forScope(view.session, 'write', form),
    h('section', { class: 'card flush' }, table.element),
  )
  const turn = view.poll(async () => table.update(await view.api.bans(view.signal)), EVERY_MS)
}
