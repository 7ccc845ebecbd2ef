/**
 * Tables: rows by key, refreshed in place, walked with the keyboard (keys.js), cards on a phone (parts.css).
 *
 * @import { Child } from './dom.js'
 *
 * @template Row
 * @typedef {object} Column
 * @property {string} label
 * @property {(row: Row) => string} text  what is shown, or, with `node`, when it is to be built anew
 * @property {(row: Row) => Child} [node]
 * @property {string} [kind]  classes: `number`, `name`, `wide`, `minor` (not on small screens), `actions`
 */
import { fill, h, setText } from './dom.js'
import { visible } from './format.js'

/** What the keyboard walks over. */
export const HANDLE = '[data-handle]'

/**
 * @template Row
 * @param {object} options
 * @param {string} options.label
 * @param {readonly Column<Row>[]} options.columns  the first one names the row
 * @param {(row: Row) => string} options.keyOf
 * @param {(row: Row) => string} [options.hrefOf]  of the page behind the row
 * @param {(row: Row) => void} [options.onOpen]
 * @param {string} options.empty
 */
export function createTable({ label, columns, keyOf, hrefOf, onOpen, empty }) {
  const head = columns.map(({ label: text, kind }) =>
    h('th', { role: 'columnheader', scope: 'col', class: kind }, text),
  )
  const body = h('tbody', { role: 'rowgroup' })
  const note = h('p', { class: 'empty' }, 'Loading…')
  const table = h(
    'table',
    { role: 'table', 'aria-label': label, hidden: true },
    h('thead', { role: 'rowgroup' }, h('tr', { role: 'row' }, head)),
    body,
  )
  /** @typedef {{ row: Row, element: HTMLTableRowElement, cells: HTMLElement[], stamps: string[] }} Line */
  /** @type {Map<string, Line>} */
  let lines = new Map()

  /** @param {Row} row @returns {Line} */
  const create = (row) => {
    const element = h('tr', { role: 'row' })
    /** @type {Line} */
    const line = { row, element, cells: [], stamps: [] }
    columns.forEach(({ label: name, kind, node }, index) => {
      const isHandle = index === 0
      /** @type {HTMLElement} */
      let inner = element.appendChild(h('td', { role: 'cell', class: kind, 'data-label': name }))
      if (isHandle && !node && hrefOf)
        inner = inner.appendChild(h('a', { href: hrefOf(row), 'data-handle': true }))
      else if (isHandle && !node && onOpen) {
        const open = () => onOpen(line.row)
        inner = inner.appendChild(
          h('button', { type: 'button', class: 'link', onclick: open, 'data-handle': true }),
        )
      }
      line.cells.push(inner)
    })
    return line
  }

  /** @param {Line} line */
  const refresh = (line) => {
    columns.forEach(({ text, node }, index) => {
      const cell = /** @type {Element} */ (line.cells[index])
      const stamp = text(line.row)
      if (!node) setText(cell, visible(stamp))
      else if (line.stamps[index] !== stamp) rebuild(cell, node(line.row))
      line.stamps[index] = stamp
    })
    // A row that leads nowhere can be walked to all the same.
    if (!line.element.querySelector(HANDLE)) line.element.setAttribute('data-handle', '')
  }

  // One stop of the Tab key for the table: the row that had the focus last.
  body.addEventListener('focusin', ({ target }) => {
    const handle = target instanceof Element ? target.closest(HANDLE) : null
    if (handle) oneStop(body, handle)
  })

  return {
    element: h('div', { class: 'table' }, table, note),
    /** @param {readonly Row[]} rows */
    update(rows) {
      const next = new Map()
      for (const row of rows) {
        const line = lines.get(keyOf(row)) ?? create(row)
        line.row = row
        refresh(line)
        next.set(keyOf(row), line)
      }
      for (const [key, { element }] of lines) if (!next.has(key)) element.remove()
      lines = next
      let place = body.firstElementChild
      for (const { element } of lines.values()) {
        if (element === place) place = place.nextElementSibling
        else body.insertBefore(element, place)
      }
      oneStop(body, body.querySelector(`${HANDLE}[tabindex="0"]`) ?? body.querySelector(HANDLE))
      table.hidden = rows.length === 0
      note.hidden = rows.length > 0
      setText(note, empty)
    },
  }
}

/** The focus stays where it is. @param {Element} cell @param {Child} child */
function rebuild(cell, child) {
  const hasStop = cell.querySelector('[tabindex="0"]') !== null
  const hasFocus = cell.contains(document.activeElement)
  fill(cell, child)
  const control = cell.querySelector('a, button')
  if (!(control instanceof HTMLElement)) return
  if (hasStop) control.setAttribute('tabindex', '0')
  if (hasFocus) control.focus()
}

/** @param {Element} body @param {Element | null} stop */
function oneStop(body, stop) {
  for (const handle of body.querySelectorAll(HANDLE)) {
    handle.setAttribute('tabindex', handle === stop ? '0' : '-1')
  }
}
