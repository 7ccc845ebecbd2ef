/** The keyboard: pages by g and a letter, rows by j and k, the search by /, what there is by ?. */
import { h } from './dom.js'
import { openDialog } from './dialog.js'
import { HANDLE } from './table.js'

/** For which `g` waits for its letter. */
const CHORD_MS = 1_500

/** @typedef {{ title: string, letter: string, path: string }} Place */

/**
 * @param {readonly Place[]} places
 * @param {AbortSignal} signal
 */
export function listenToKeys(places, signal) {
  let chordAtMs = -Infinity
  document.addEventListener(
    'keydown',
    (event) => {
      if (event.ctrlKey || event.altKey || event.metaKey) return
      if (event.key === 'Escape') return leaveField()
      if (isField(event.target) || document.querySelector('dialog[open]')) return
      if (event.timeStamp - chordAtMs < CHORD_MS) {
        chordAtMs = -Infinity
        const place = places.find(({ letter }) => letter === event.key)
        if (!place) return
        event.preventDefault()
        location.hash = place.path
        return
      }
      if (event.key === 'g') chordAtMs = event.timeStamp
      else if (act(event, places)) event.preventDefault()
    },
    { signal },
  )
}

/** @param {KeyboardEvent} event @param {readonly Place[]} places @returns {boolean} whether the key meant something */
function act(event, places) {
  switch (event.key) {
    case '?':
      showKeys(places)
      return true
    case '/':
      return focus(document.querySelector('main [data-search]'))
    case 'j':
      return step(1)
    case 'k':
      return step(-1)
    case 'n':
      return press('main [data-next]')
    case 'p':
      return press('main [data-previous]')
    case 'Enter':
      return openRow(event.target)
    case 'ArrowDown':
      return isInRow(event.target) && step(1)
    case 'ArrowUp':
      return isInRow(event.target) && step(-1)
    default:
      return false
  }
}

/** @param {1 | -1} by */
function step(by) {
  const handles = [...document.querySelectorAll(`main ${HANDLE}`)].filter((handle) =>
    handle.checkVisibility(),
  )
  const row = document.activeElement?.closest('tr')
  const at = handles.findIndex((handle) => handle === document.activeElement || handle.closest('tr') === row)
  const next = at === -1 ? handles.at(by === 1 ? 0 : -1) : handles[at + by]
  return focus(next ?? null)
}

/** @param {Element | null | undefined} element */
function focus(element) {
  if (!(element instanceof HTMLElement)) return false
  element.focus()
  element.scrollIntoView({ block: 'nearest' })
  return true
}

/** @param {string} selector */
function press(selector) {
  const button = document.querySelector(selector)
  if (!(button instanceof HTMLButtonElement) || button.disabled) return false
  button.click()
  return true
}

/** Enter on a row that is no link itself, but holds one. @param {EventTarget | null} target */
function openRow(target) {
  if (!(target instanceof HTMLTableRowElement)) return false
  const link = target.querySelector('a')
  link?.click()
  return link !== null
}

/** @param {EventTarget | null} target */
function isInRow(target) {
  return target instanceof Element && target.closest('tbody tr') !== null
}

/** @param {EventTarget | null} target */
function isField(target) {
  return target instanceof Element && target.closest('input, textarea, select') !== null
}

function leaveField() {
  if (isField(document.activeElement) && document.activeElement instanceof HTMLElement) {
    document.activeElement.blur()
  }
}

/** @param {readonly Place[]} places */
function showKeys(places) {
  /** @param {string} keys @param {string} what */
  const line = (keys, what) =>
    h(
      'div',
      {},
      h(
        'dt',
        {},
        keys.split(' ').map((key) => h('kbd', {}, key)),
      ),
      h('dd', {}, what),
    )
  openDialog('Keys', {
    body: [
      h(
        'dl',
        { class: 'keys' },
        line('/', 'search'),
        line('j k', 'next and previous row; arrows as well'),
        line('Enter', 'open'),
        line('n p', 'next and previous page of a table'),
        line('Esc', 'leave a field, close a dialog'),
        line('?', 'this list'),
        places.map(({ letter, title }) => line(`g ${letter}`, title)),
      ),
    ],
  })
}
