/**
 * One identity: what it may, its keys, and what can be done with it.
 *
 * @import { View } from '../view.js'
 * @import { Column } from '../table.js'
 * @import { IdentityDetail, IdentityKey } from '../../api/identity-resources.ts'
 */
import { confirmed } from '../dialog.js'
import { fill, h, setText } from '../dom.js'
import { dateTime, orMissing, visible } from '../format.js'
import { identityForm, showSecret } from '../identity-forms.js'
import { attempt, reasonOf, toast } from '../notice.js'
import { card, dangerButton, facts, forScope } from '../part.js'
import { ApiError } from '../request.js'
import { createTable } from '../table.js'
import { stateBadge } from './identities.js'

const EVERY_MS = 3_000

/** @param {View} view */
export function identityPage(view) {
  const name = view.query.get('name') ?? ''
  const shown = visible(name, 60)
  /** @type {IdentityDetail | undefined} */
  let identity
  const state = h('span')
  const details = h('div')
  const wrong = h('p', { class: 'error', hidden: true })

  /** @param {string} text @param {() => void} onclick */
  const button = (text, onclick) => h('button', { type: 'button', onclick }, text)
  const onOff = button('Disable', () => void switchIt())
  const switchIt = async () => {
    const verb = identity?.isEnabled === false ? 'enable' : 'disable'
    const words = { text: 'Its connections and streams end at once, on all pods.', action: 'Disable' }
    if (verb === 'disable' && !(await confirmed(`Disable ${shown}?`, words))) return
    await attempt(() => view.api.switchIdentity({ name }, verb), `${shown} is ${verb}d.`)
    turn.now()
  }
  const newPassword = async () => {
    const words = {
      text: 'The old one lets it in no more, and connections that came in with it end.',
      action: 'New password',
    }
    if (!(await confirmed(`A new password for ${shown}?`, words))) return
    await shownOnce(
      async () => (await view.api.setPassword({ name })).password ?? '',
      'This is its new password.',
    )
  }
  const newKey = () =>
    shownOnce(
      async () => (await view.api.createKey({ name })).secret,
      'This key stands in place of its password, or is its bearer token.',
    )
  /** @param {() => Promise<string>} make @param {string} text */
  const shownOnce = async (make, text) => {
    try {
      showSecret(shown, await make(), text)
    } catch (error) {
      toast(reasonOf(error), 'bad')
    }
    turn.now()
  }
  const remove = async () => {
    const words = { text: 'With its keys; its connections and streams end at once.', action: 'Delete' }
    if (!(await confirmed(`Delete ${shown}?`, words))) return
    if (await attempt(() => view.api.deleteIdentity({ name }), `${shown} is deleted.`))
      location.hash = '#/identities'
  }
  const mayChange = view.session.may('identities')
  /** @type {Column<IdentityKey>[]} */
  const columns = [
    { label: 'Key', kind: 'name', text: ({ id }) => id },
    { label: 'Created', text: ({ createdAt }) => dateTime(createdAt) },
    { label: 'Expires', text: ({ expiresAt }) => (expiresAt === null ? 'never' : dateTime(expiresAt)) },
    { label: 'Description', kind: 'text', text: ({ description }) => orMissing(description) },
  ]
  if (mayChange)
    columns.push({
      label: '',
      kind: 'actions',
      text: ({ id }) => id,
      node: ({ id }) => dangerButton('Delete', () => void removeKey(id)),
    })
  /** @param {string} id */
  const removeKey = async (id) => {
    const words = { text: 'What came in with it ends at once.', action: 'Delete' }
    if (!(await confirmed(`Delete key ${id}?`, words))) return
    await attempt(() => view.api.deleteKey({ name }, id), 'Deleted.')
    turn.now()
  }
  const keys = createTable({ label: 'Keys', columns, keyOf: ({ id }) => id, empty: 'It has no keys.' })

  view.show(
    visible(name, 120),
    h(
      'div',
      { class: 'row between' },
      h('p', {}, state, ' ', h('a', { href: '#/identities' }, 'All identities')),
      forScope(
        view.session,
        'identities',
        button('Change', () => identity && identityForm(view, () => turn.now(), identity)),
        button('New password', () => void newPassword()),
        button('New key', () => void newKey()),
        onOff,
        dangerButton('Delete', () => void remove()),
      ),
    ),
    wrong,
    h(
      'div',
      { class: 'columns' },
      card('Identity', details),
      h('section', { class: 'card flush' }, h('h2', {}, 'Keys'), keys.element),
    ),
  )

  const turn = view.poll(async () => {
    try {
      identity = await view.api.identity({ name }, view.signal)
    } catch (error) {
      if (!(error instanceof ApiError) || error.status !== 404) throw error
      identity = undefined
    }
    setText(wrong, identity ? (identity.warning ?? '') : 'There is no such identity.')
    wrong.hidden = wrong.textContent === ''
    fill(state, identity && stateBadge(identity))
    fill(details, identity && factsOf(identity))
    keys.update(identity?.keys ?? [])
    setText(onOff, identity?.isEnabled === false ? 'Enable' : 'Disable')
  }, EVERY_MS)
}

/** @param {IdentityDetail} identity */
function factsOf({
  description,
  clientId,
  hasPassword,
  groups,
  roles,
  effectiveRoles,
  createdAt,
  changedAt,
}) {
  return facts([
    ['Description', orMissing(description)],
    ['Client id', clientId === null ? 'any' : visible(clientId)],
    ['Password', hasPassword ? 'yes' : 'none: only keys let it in'],
    ['Groups', orMissing(groups.join(', '))],
    ['Roles', orMissing(roles.join(', '))],
    [
      'Asked in this order',
      effectiveRoles.length === 0 ? 'no role: it may do nothing' : visible(effectiveRoles.join(', ')),
    ],
    ['Created', dateTime(createdAt)],
    ['Changed', dateTime(changedAt)],
  ])
}
