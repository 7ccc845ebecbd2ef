/**
 * What is around every page: header, navigation, banner.
 *
 * @import { Api } from './api.js'
 * @import { Overview } from '../api/resources.ts'
 * @import { Place } from './keys.js'
 * @import { Session } from './session.js'
 */
import { fill, h, setText } from './dom.js'
import { count } from './format.js'
import { createBanner } from './notice.js'
import { currentTheme, nextTheme, setTheme } from './theme.js'

/**
 * @param {Element} place
 * @param {object} options
 * @param {readonly Place[]} options.places
 * @param {Session} options.session
 * @param {Api} options.api
 * @param {() => void} options.tryNow
 * @param {() => void} options.logOut
 * @param {(pod: string | undefined) => void} options.lookAt  one pod; undefined: all
 */
export function showShell(place, { places, session, api, tryNow, logOut, lookAt }) {
  const main = h('main', { id: 'main', tabindex: '-1' })
  const banner = createBanner(tryNow)
  const state = h('span', { class: 'state' }, '…')
  const links = places.map(({ title, path, letter }) => h('a', { href: path, title: `g ${letter}` }, title))
  const nav = h('nav', { id: 'nav', 'aria-label': 'Pages' }, links)
  const menu = h(
    'button',
    { type: 'button', class: 'menu', 'aria-expanded': 'false', 'aria-controls': 'nav' },
    'Menu',
  )
  menu.addEventListener('click', () => openMenu(menu.getAttribute('aria-expanded') !== 'true'))
  /** @param {boolean} isOpen */
  const openMenu = (isOpen) => {
    menu.setAttribute('aria-expanded', String(isOpen))
    nav.classList.toggle('open', isOpen)
  }

  const theme = h('button', { type: 'button', class: 'quiet', onclick: changeTheme }, '◐')
  function changeTheme() {
    setTheme(nextTheme())
    nameTheme()
  }
  function nameTheme() {
    theme.title = `Theme: ${currentTheme()}`
    theme.setAttribute('aria-label', theme.title)
  }
  nameTheme()
  const pods = h('select', { 'aria-label': 'Pod', hidden: true }, h('option', { value: '' }, 'all pods'))
  pods.addEventListener('change', () => lookAt(pods.value === '' ? undefined : pods.value))
  let podsKnown = 1

  const skip = h(
    'button',
    { type: 'button', class: 'skip', onclick: () => main.focus() },
    'Skip to the content',
  )
  fill(
    place,
    skip,
    h(
      'header',
      { class: 'top' },
      menu,
      h(
        'a',
        { class: 'brand', href: '#/overview' },
        h('img', { src: 'dashboard/icon.svg', alt: '', width: 22, height: 22 }),
        'TunnelMQ',
      ),
      state,
      pods,
      h('span', { class: 'space' }),
      theme,
      h('span', { class: 'who', title: 'Name of the key' }, session.holder?.name),
      h('button', { type: 'button', class: 'quiet', onclick: logOut }, 'Log out'),
    ),
    nav,
    h('div', { class: 'content' }, banner.element, main),
  )

  return {
    main,
    banner,
    /** @param {string} path */
    opened(path) {
      openMenu(false)
      for (const link of links) {
        if (link.getAttribute('href') === path) link.setAttribute('aria-current', 'page')
        else link.removeAttribute('aria-current')
      }
    },
    /** @param {Overview} overview */
    told({ isReady, isDraining, podCount, sessionsConnected }) {
      state.className = `state ${isDraining ? 'warn' : isReady ? 'good' : 'bad'}`
      setText(
        state,
        isDraining ? 'draining' : isReady ? `ready, ${count(sessionsConnected)} connected` : 'not ready',
      )
      if (podCount <= podsKnown) return
      podsKnown = podCount
      api.pods().then(
        (list) => {
          pods.hidden = false
          fill(
            pods,
            h('option', { value: '' }, 'all pods'),
            list.map(({ id, name }) => h('option', { value: id }, name)),
          )
        },
        // Asked again with the next overview.
        () => (podsKnown = 1),
      )
    },
    away() {
      state.className = 'state bad'
      setText(state, 'no answer')
    },
  }
}
