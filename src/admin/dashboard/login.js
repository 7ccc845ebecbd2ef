/**
 * The way in: an API key.
 *
 * @import { Api } from './api.js'
 * @import { Session } from './session.js'
 */
import { fill, h, setText } from './dom.js'
import { ApiError } from './request.js'

/**
 * Asks the broker whose key it is. Undefined: it may come in; otherwise what is wrong with it.
 *
 * @param {Api} api
 * @param {Session} session
 * @returns {Promise<string | undefined>}
 */
export async function openSession(api, session) {
  try {
    session.opened(await api.key())
  } catch (error) {
    if (error instanceof ApiError && error.status === 401) session.forget()
    return wordsFor(error)
  }
  if (session.may('read')) return undefined
  const scopes = session.holder?.scopes.join(', ') ?? ''
  session.forget()
  return `The key is right, but this page needs one with scope read. Its scopes: ${scopes}.`
}

/** @param {unknown} error */
function wordsFor(error) {
  if (!(error instanceof ApiError)) return String(error)
  switch (error.status) {
    case 401:
      return `The broker does not know this key, or its time is over. ${error.message}`
    case 404:
      return 'The broker serves no API: admin.api is false in its configuration.'
    case 429:
      return 'Too many wrong keys came from your address. Wait a minute.'
    default:
      return error.message
  }
}

/**
 * @param {Element} place
 * @param {Api} api
 * @param {Session} session
 * @param {() => void} opened
 * @param {string} [reason]  why it is asked for again
 */
export function showLogin(place, api, session, opened, reason = '') {
  const key = h('input', {
    type: 'password',
    required: true,
    id: 'key',
    autocomplete: 'off',
    spellcheck: 'false',
    'aria-describedby': 'wrong',
    class: 'mono',
  })
  const wrong = h('p', { id: 'wrong', class: 'error', role: 'alert' }, reason)
  const enter = h('button', { type: 'submit', class: 'primary' }, 'Open')
  /** @param {Event} event */
  const onsubmit = async (event) => {
    event.preventDefault()
    enter.disabled = true
    setText(wrong, '')
    session.keep(key.value.trim())
    const problem = await openSession(api, session)
    enter.disabled = false
    if (problem === undefined) return opened()
    session.forget()
    setText(wrong, problem)
    key.setAttribute('aria-invalid', 'true')
    key.select()
  }
  document.title = 'Log in – TunnelMQ'
  fill(
    place,
    h(
      'main',
      { class: 'login' },
      h(
        'form',
        { class: 'card', onsubmit },
        h('h1', {}, h('img', { src: 'dashboard/icon.svg', alt: '', width: 28, height: 28 }), 'TunnelMQ'),
        h('label', { for: 'key' }, 'API key'),
        key,
        wrong,
        enter,
        h(
          'p',
          { class: 'muted' },
          'A key is made on the broker’s machine by ',
          h('code', {}, 'tunnelmq api-key create'),
          '. It stays in this tab, and is forgotten with it.',
        ),
        !isSecureContext &&
          h(
            'p',
            { class: 'error' },
            'This page came without TLS: whoever is on the way can read the key. See admin.tls.',
          ),
      ),
    ),
  )
  key.focus()
}
