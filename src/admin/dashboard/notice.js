/** Words to the person in front of it: toasts, and one banner about the state of the broker. */
import { h, setText } from './dom.js'
import { ApiError } from './request.js'

const TOAST_MS = 6_000
const MOST_TOASTS = 3

/** @param {string} text @param {'good' | 'bad'} [mood] */
export function toast(text, mood = 'good') {
  const place = document.getElementById('toasts')
  if (!place) return
  const element = h('p', { class: `toast ${mood}` }, text)
  place.append(element)
  while (place.children.length > MOST_TOASTS) place.firstElementChild?.remove()
  setTimeout(() => element.remove(), TOAST_MS)
}

/**
 * Does something that changes the broker, and says how it went. False: it failed, and that was said.
 *
 * @param {() => Promise<unknown>} action
 * @param {string} done
 */
export async function attempt(action, done) {
  try {
    await action()
    toast(done)
    return true
  } catch (error) {
    toast(reasonOf(error), 'bad')
    return false
  }
}

/** @param {unknown} error */
export function reasonOf(error) {
  if (!(error instanceof ApiError)) return error instanceof Error ? error.message : String(error)
  if (error.status === 403) return `This key may not do that. ${error.message}`
  return error.message
}

/**
 * The banner; empty, it is not there. It is an alert, so it is written to only when something changes.
 *
 * @param {() => void} tryNow
 */
export function createBanner(tryNow) {
  const text = h('span')
  const button = h('button', { type: 'button', onclick: tryNow }, 'Try now')
  const element = h('div', { class: 'banner', role: 'alert', hidden: true }, text, button)
  return {
    element,
    /** @param {string} message @param {{ isAway?: boolean }} [options] */
    show(message, { isAway = false } = {}) {
      element.classList.toggle('away', isAway)
      button.hidden = !isAway
      element.hidden = message === ''
      setText(text, message)
    },
  }
}
