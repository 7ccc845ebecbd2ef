/**
 * Retained messages: as a tree of topics, or as a list; looked into, and deleted.
 *
 * @import { View } from '../view.js'
 * @import { RetainedMessage } from '../../api/resources.ts'
 */
import { confirmed, openDialog } from '../dialog.js'
import { h, setText } from '../dom.js'
import { bytes, count, counted, dateTime, visible } from '../format.js'
import { attempt, reasonOf } from '../notice.js'
import { dangerButton, facts, field, forScope, select } from '../part.js'
import { payloadView, preview, propertyFacts } from '../payload.js'
import { createTable } from '../table.js'
import { rowsOf, treeOf } from '../topic-tree.js'
import { noteQuery } from '../view.js'

/** @import { TreeRow } from '../topic-tree.js' */

const LIMIT = 500
const TYPING_MS = 400

/** @param {View} view */
export function topicsPage(view) {
  /** @type {RetainedMessage[]} */
  let messages = []
  /** @type {string | null} */
  let next = null
  /** Topics up to a level that is open. @type {Set<string>} */
  const open = new Set()
  const filter = h('input', {
    'data-search': true,
    class: 'mono',
    value: view.query.get('filter') ?? '#',
    spellcheck: 'false',
    autocomplete: 'off',
  })
  const shape = select(
    [
      ['tree', 'tree'],
      ['list', 'list'],
    ],
    view.query.get('as') ?? 'tree',
  )
  const note = h('p', { class: 'muted', role: 'status' })
  const more = h('button', { type: 'button', hidden: true, onclick: () => void load() }, 'Load more')

  /** @type {ReturnType<typeof createTable<TreeRow>>} */
  const table = createTable({
    label: 'Retained messages',
    columns: [
      {
        label: 'Topic',
        kind: 'name',
        text: (row) => `${row.level} ${row.isOpen} ${row.path} ${row.below}`,
        node: (row) => nameOf(row),
      },
      { label: 'Payload', kind: 'wide', text: ({ message }) => (message ? preview(message.payload) : '') },
      { label: 'QoS', kind: 'number', text: ({ message }) => (message ? String(message.qos) : '') },
      { label: 'Bytes', kind: 'number', text: ({ message }) => (message ? bytes(message.bytes) : '') },
    ],
    keyOf: ({ path, message, isFolder }) => `${path}\n${isFolder}\n${message !== undefined}`,
    empty: 'No retained message is like that. Topics that begin with $ have to be named: $SYS/#.',
  })

  /** @param {TreeRow} row */
  const nameOf = (row) => {
    const act = () =>
      row.isFolder ? toggle(row.path) : void look(/** @type {RetainedMessage} */ (row.message))
    const handle = h(
      'button',
      {
        type: 'button',
        class: 'link topic',
        onclick: act,
        'data-handle': true,
        'aria-expanded': row.isFolder ? String(row.isOpen) : null,
      },
      row.isFolder && h('span', { class: 'twig', 'aria-hidden': 'true' }, row.isOpen ? '▾' : '▸'),
      visible(row.name) || '(empty level)',
    )
    handle.style.setProperty('--level', String(Math.min(row.level, 12)))
    handle.addEventListener('keydown', ({ key }) => {
      if (row.isFolder && ((key === 'ArrowRight' && !row.isOpen) || (key === 'ArrowLeft' && row.isOpen)))
        toggle(row.path)
    })
    return row.isFolder
      ? h('span', {}, handle, h('small', { class: 'muted' }, ` ${count(row.below)}`))
      : handle
  }

  /** @param {string} path */
  const toggle = (path) => {
    if (!open.delete(path)) open.add(path)
    show()
  }

  const show = () => {
    table.update(
      shape.value === 'tree'
        ? rowsOf(treeOf(messages), open)
        : messages.map((message) => ({
            path: message.topic,
            name: message.topic,
            level: 0,
            isFolder: false,
            isOpen: false,
            below: 0,
            message,
          })),
    )
    setText(note, `${counted(messages.length, 'message')}${next === null ? '' : ', and there are more'}`)
    more.hidden = next === null
  }

  let asked = 0
  const load = async () => {
    const mine = (asked += 1)
    try {
      const page = await view.api.retained(
        { filter: filter.value || '#', after: next ?? '', limit: LIMIT },
        view.signal,
      )
      if (mine !== asked) return
      messages = [...(next === null ? [] : messages), ...page.items]
      next = page.next
      show()
    } catch (error) {
      if (view.signal.aborted || mine !== asked) return
      setText(note, reasonOf(error))
    }
  }
  const reload = () => {
    next = null
    noteQuery('topics', {
      filter: filter.value === '#' ? '' : filter.value,
      as: shape.value === 'tree' ? '' : shape.value,
    })
    void load()
  }

  /** @param {RetainedMessage} shown */
  const look = async (shown) => {
    /** @type {RetainedMessage} */
    let message
    try {
      message = await view.api.retainedMessage(shown.topic)
    } catch (error) {
      setText(note, reasonOf(error))
      return
    }
    const remove = async () => {
      dialog.close()
      const text = 'Whoever subscribes from now on does not get it. Those who have it keep it.'
      if (!(await confirmed(`Delete ${visible(message.topic, 80)}?`, { text, action: 'Delete' }))) return
      if (!(await attempt(() => view.api.deleteRetained(message.topic), 'Deleted.'))) return
      messages = messages.filter(({ topic }) => topic !== message.topic)
      show()
    }
    const dialog = openDialog('Retained message', {
      body: [
        facts([
          ['Topic', h('code', {}, visible(message.topic, 2_000))],
          ['QoS', String(message.qos)],
          [
            'Kept until',
            message.expiresAt === null ? 'it is replaced or deleted' : dateTime(message.expiresAt),
          ],
          ...propertyFacts(message.properties),
        ]),
        payloadView(message),
      ],
      actions: [
        forScope(
          view.session,
          'write',
          dangerButton('Delete', () => void remove()),
        ),
      ],
    })
  }

  view.show(
    'Topics and retained messages',
    h(
      'div',
      { class: 'fields' },
      field('Topic filter', filter, 'grow'),
      field('Show as', shape),
      h('button', { type: 'button', onclick: reload }, 'Refresh'),
    ),
    note,
    h('section', { class: 'card flush' }, table.element),
    more,
  )
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let typing
  filter.addEventListener('input', () => {
    clearTimeout(typing)
    typing = setTimeout(reload, TYPING_MS)
  })
  shape.addEventListener('change', () => {
    noteQuery('topics', {
      filter: filter.value === '#' ? '' : filter.value,
      as: shape.value === 'tree' ? '' : shape.value,
    })
    show()
  })
  void load()
}
