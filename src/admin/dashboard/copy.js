/** Commands to be taken along. */
import { h, setText } from './dom.js'

const TOLD_MS = 1_500

/** @param {string} text a command or lines of a file @param {string} what for those who hear the button */
export function copyable(text, what) {
  const code = h('pre', { tabindex: '0' }, h('code', {}, text))
  const button = h('button', { type: 'button', class: 'copy', 'aria-label': `Copy ${what}` }, 'Copy')
  const copy = async () => {
    setText(button, (await copied(text, code)) ? 'Copied' : 'Press Ctrl-C')
    setTimeout(() => setText(button, 'Copy'), TOLD_MS)
  }
  button.addEventListener('click', () => void copy())
  return h('div', { class: 'copyable' }, code, button)
}

/**
 * The clipboard is there only over HTTPS and on this machine; otherwise the text is at least selected.
 *
 * @param {string} text
 * @param {Element} shown
 */
async function copied(text, shown) {
  try {
    await navigator.clipboard.writeText(text)
    return true
  } catch {
    getSelection()?.selectAllChildren(shown)
    return false
  }
}
