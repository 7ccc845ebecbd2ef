/**
 * Who may connect, and what for, at listeners with the dynamic handler: identities in pages, groups, roles.
 *
 * @import { View } from '../view.js'
 * @import { Column } from '../table.js'
 * @import { Group, Identity, Role } from '../../api/identity-resources.ts'
 */
import { confirmed } from '../dialog.js'
import { h, setText } from '../dom.js'
import { count, dateTime, orMissing, visible } from '../format.js'
import { groupForm, identityForm, roleForm } from '../identity-forms.js'
import { rulesText } from '../identity-rules.js'
import { attempt } from '../notice.js'
import { badge, dangerButton, field, forScope, select } from '../part.js'
import { createTable } from '../table.js'
import { hashOf, noteQuery } from '../view.js'
import { createPager } from './clients.js'

const EVERY_MS = 5_000
const LIMIT = 100
const TYPING_MS = 250
/** Of groups and roles, which are few. */
const MOST = 1_000

/** @param {Pick<Identity, 'isEnabled'>} identity */
export function stateBadge({ isEnabled }) {
  return badge(isEnabled ? 'enabled' : 'disabled', isEnabled ? 'good' : 'bad')
}

/** @param {View} view */
export function identitiesPage(view) {
  /** Cursors of the pages up to this one. @type {string[]} */
  let cursors = ['']
  /** @type {string | null} */
  let next = null
  const search = h('input', {
    type: 'search',
    'data-search': true,
    placeholder: 'name, description or client id',
    value: view.query.get('search'),
    maxlength: 256,
    spellcheck: 'false',
  })
  const state = select(
    ['all', 'enabled', 'disabled'].map((word) => /** @type {const} */ ([word, word])),
    view.query.get('state') ?? 'all',
  )
  const warning = h('p', { class: 'error', hidden: true })
  /** @type {ReturnType<typeof createTable<Identity>>} */
  const table = createTable({
    label: 'Identities',
    columns: [
      { label: 'Name', kind: 'name', text: ({ name }) => name },
      { label: 'State', text: ({ isEnabled }) => String(isEnabled), node: (row) => stateBadge(row) },
      { label: 'Client id', kind: 'text', text: ({ clientId }) => clientId ?? 'any' },
      { label: 'Groups', kind: 'text', text: ({ groups }) => orMissing(groups.join(', ')) },
      { label: 'Roles', kind: 'text', text: ({ roles }) => orMissing(roles.join(', ')) },
      { label: 'Keys', kind: 'number', text: ({ keys }) => count(keys.length) },
      { label: 'Changed', kind: 'minor', text: ({ changedAt }) => dateTime(changedAt) },
    ],
    keyOf: ({ name }) => name,
    hrefOf: ({ name }) => hashOf('identity', { name }),
    empty: 'No identity is like that.',
  })
  const turnPage = () => turn.now()
  const pager = createPager(
    () => {
      if (next !== null) cursors.push(next)
      turnPage()
    },
    () => {
      cursors.pop()
      turnPage()
    },
  )
  const groups = groupTable(view, turnPage)
  const roles = roleTable(view, turnPage)
  /** @param {string} text @param {() => void} onclick */
  const button = (text, onclick) => h('button', { type: 'button', onclick }, text)

  view.show(
    'Identities',
    warning,
    forScope(
      view.session,
      'identities',
      button('New identity', () => identityForm(view, turnPage)),
      button('New group', () => groupForm(view, turnPage)),
      button('New role', () => roleForm(view, turnPage)),
    ),
    h('div', { class: 'fields' }, field('Search', search, 'grow'), field('State', state), pager.element),
    h('section', { class: 'card flush' }, table.element),
    h('section', { class: 'card flush' }, h('h2', {}, 'Groups'), groups.element),
    h('section', { class: 'card flush' }, h('h2', {}, 'Roles'), roles.element),
  )

  let asked = 0
  const turn = view.poll(async () => {
    const mine = (asked += 1)
    const filter = { search: search.value, state: state.value, after: cursors.at(-1) ?? '', limit: LIMIT }
    const [page, allGroups, allRoles] = await Promise.all([
      view.api.identities(filter, view.signal),
      view.api.groups({ limit: MOST }, view.signal),
      view.api.roles({ limit: MOST }, view.signal),
    ])
    // Something else was asked for in the meantime.
    if (mine !== asked) return
    next = page.next
    setText(warning, page.warning ?? '')
    warning.hidden = page.warning === null
    table.update(page.items)
    groups.update(allGroups.items)
    roles.update(allRoles.items)
    const first = (cursors.length - 1) * LIMIT
    pager.update({ first, shown: page.items.length, total: page.total, hasNext: next !== null })
  }, EVERY_MS)

  const filterChanged = () => {
    asked += 1
    cursors = ['']
    noteQuery('identities', { search: search.value, state: state.value === 'all' ? '' : state.value })
    turnPage()
  }
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let typing
  search.addEventListener('input', () => {
    clearTimeout(typing)
    typing = setTimeout(filterChanged, TYPING_MS)
  })
  state.addEventListener('change', filterChanged)
}

/** @param {View} view @param {() => void} changed */
function groupTable(view, changed) {
  /** @type {Column<Group>[]} */
  const columns = [
    { label: 'Group', kind: 'name', text: ({ name }) => name },
    { label: 'Roles', kind: 'text', text: ({ roles }) => orMissing(roles.join(', ')) },
    { label: 'Members', kind: 'number', text: ({ members }) => count(members) },
    { label: 'Description', kind: 'text minor', text: ({ description }) => orMissing(description) },
  ]
  const edit = view.session.may('identities')
    ? /** @param {Group} group */ (group) => groupForm(view, changed, group)
    : undefined
  if (edit)
    columns.push(
      deletion(
        /** @param {Group} group */ (group) =>
          removed('group', group.name, () => view.api.deleteGroup(group)),
        changed,
      ),
    )
  return createTable({
    label: 'Groups',
    columns,
    keyOf: ({ name }) => name,
    ...(edit && { onOpen: edit }),
    empty: 'There are no groups.',
  })
}

/** @param {View} view @param {() => void} changed */
function roleTable(view, changed) {
  /** @type {Column<Role>[]} */
  const columns = [
    { label: 'Role', kind: 'name', text: ({ name }) => name },
    {
      label: 'Rules',
      kind: 'wide',
      text: ({ rules }) => rulesText(rules),
      node: ({ rules }) =>
        h(
          'div',
          { class: 'rules' },
          rules.map((rule) => h('code', {}, visible(rulesText([rule])))),
        ),
    },
    {
      label: 'Had by',
      kind: 'number',
      text: ({ identities, groups }) => count(identities + groups),
    },
    { label: 'Description', kind: 'text minor', text: ({ description }) => orMissing(description) },
  ]
  const edit = view.session.may('identities')
    ? /** @param {Role} role */ (role) => roleForm(view, changed, role)
    : undefined
  if (edit)
    columns.push(
      deletion(
        /** @param {Role} role */ (role) => removed('role', role.name, () => view.api.deleteRole(role)),
        changed,
      ),
    )
  return createTable({
    label: 'Roles',
    columns,
    keyOf: ({ name }) => name,
    ...(edit && { onOpen: edit }),
    empty: 'There are no roles: nobody may do anything.',
  })
}

/**
 * @template {{ name: string, revision: number }} Row
 * @param {(row: Row) => Promise<void>} remove
 * @param {() => void} changed
 * @returns {Column<Row>}
 */
function deletion(remove, changed) {
  return {
    label: '',
    kind: 'actions',
    text: ({ name, revision }) => `${name} ${revision}`,
    node: (row) => dangerButton('Delete', () => void remove(row).then(changed)),
  }
}

/** @param {string} kind @param {string} name @param {() => Promise<void>} remove */
async function removed(kind, name, remove) {
  const text = 'The broker refuses that while somebody has it.'
  if (!(await confirmed(`Delete ${kind} ${visible(name, 60)}?`, { text, action: 'Delete' }))) return
  await attempt(remove, 'Deleted.')
}
