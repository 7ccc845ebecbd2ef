/**
 * Dialogs: the browser's own, with its focus and its Esc.
 *
 * @import { Child } from './dom.js'
 */
import { h } from './dom.js'

let number = 0

/**
 * @param {string} title
 * @param {{ body: readonly Child[], actions?: readonly Child[], kind?: string, onClose?: () => void }} parts
 */
export function openDialog(title, { body, actions = [], kind = '', onClose }) {
  const titleId = `dialog-${(number += 1)}`
  const element = h('dialog', { class: kind, 'aria-labelledby': titleId })
  const close = h('button', { type: 'button', onclick: () => element.close() }, 'Close')
  element.append(
    h('h2', { id: titleId }, title),
    h('div', { class: 'dialog-body' }, body),
    h('footer', {}, close, actions),
  )
  element.addEventListener('close', () => {
    element.remove()
    onClose?.()
  })
  document.body.append(element)
  element.showModal()
  return element
}

/**
 * Asks before something is lost.
 *
 * @param {string} title
 * @param {{ text: string, action: string }} words
 * @returns {Promise<boolean>}
 */
export function confirmed(title, { text, action }) {
  return new Promise((resolve) => {
    let answer = false
    const yes = () => {
      answer = true
      dialog.close()
    }
    const dialog = openDialog(title, {
      body: [h('p', {}, text)],
      actions: [h('button', { type: 'button', class: 'danger', onclick: yes }, action)],
      kind: 'small',
      onClose: () => resolve(answer),
    })
  })
}

export function closeDialogs() {
  for (const dialog of document.querySelectorAll('dialog')) dialog.close()
}
