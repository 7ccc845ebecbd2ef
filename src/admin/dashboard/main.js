/**
 * The dashboard: login, then pages by the hash of the address. Puts the parts together.
 *
 * @import { View, PageFunction } from './view.js'
 * @import { ApiError } from './request.js'
 */
import { createApi } from './api.js'
import { closeDialogs } from './dialog.js'
import { fill, h, setText } from './dom.js'
import { createFeed } from './feed.js'
import { listenToKeys } from './keys.js'
import { openSession, showLogin } from './login.js'
import { reasonOf } from './notice.js'
import { bansPage } from './pages/bans.js'
import { clientPage } from './pages/client.js'
import { clientsPage } from './pages/clients.js'
import { identitiesPage } from './pages/identities.js'
import { identityPage } from './pages/identity.js'
import { inspectPage } from './pages/inspect.js'
import { auditPage, listenersPage, podsPage } from './pages/lists.js'
import { overviewPage } from './pages/overview.js'
import { refusalsPage } from './pages/refusals.js'
import { settingsPage } from './pages/settings.js'
import { topicsPage } from './pages/topics.js'
import { agentPage, tunnelsPage } from './pages/tunnels.js'
import { poll } from './poll.js'
import { createRequester } from './request.js'
import { createSession } from './session.js'
import { showShell } from './shell.js'
import { applyTheme } from './theme.js'

/** @typedef {{ open: PageFunction, title?: string, letter?: string, under?: string }} Page */
/** @type {Page} */
const home = { open: overviewPage, title: 'Overview', letter: 'o' }
/** @type {Map<string, Page>} */
const pages = new Map(
  Object.entries({
    overview: home,
    clients: { open: clientsPage, title: 'Clients', letter: 'c' },
    client: { open: clientPage, under: 'clients' },
    topics: { open: topicsPage, title: 'Topics', letter: 't' },
    tunnels: { open: tunnelsPage, title: 'Agents and tunnels', letter: 'a' },
    agent: { open: agentPage, under: 'tunnels' },
    identities: { open: identitiesPage, title: 'Identities', letter: 'i' },
    identity: { open: identityPage, under: 'identities' },
    inspect: { open: inspectPage, title: 'Why and trace', letter: 'w' },
    pods: { open: podsPage, title: 'Pods', letter: 'p' },
    listeners: { open: listenersPage, title: 'Listeners', letter: 'l' },
    refusals: { open: refusalsPage, title: 'Refusals', letter: 'r' },
    bans: { open: bansPage, title: 'Bans', letter: 'b' },
    audit: { open: auditPage, title: 'Audit', letter: 'u' },
    settings: { open: settingsPage, title: 'Settings', letter: 's' },
  }),
)
const places = [...pages].flatMap(([name, { title, letter }]) =>
  title !== undefined && letter !== undefined ? [{ title, letter, path: `#/${name}` }] : [],
)

const place = /** @type {Element} */ (document.getElementById('app'))
const session = createSession()
/** @type {string | undefined} */
let pod
/** @type {string[]} */
let missingPods = []
/** Ends all that runs while somebody is logged in. @type {AbortController | undefined} */
let open
/** @type {ReturnType<typeof showShell> | undefined} */
let shell

const send = createRequester({
  keyOf: () => session.secret,
  answered(missing, path) {
    if (path === '/overview') missingPods = missing
  },
  failed(error) {
    if (!shell) return
    if (error.status === 401) logOut(`Log in again: ${error.message}`)
    else if (error.isAway) tellAway(error)
  },
})
const api = createApi(send, () => pod)

/** @param {ApiError} error */
function tellAway(error) {
  shell?.away()
  shell?.banner.show(`${error.message} What you see may be old; it is asked for again and again.`, {
    isAway: true,
  })
}

/** @param {string} [reason] */
function logOut(reason = '') {
  open?.abort()
  open = undefined
  shell = undefined
  pod = undefined
  session.forget()
  closeDialogs()
  showLogin(place, api, session, enter, reason)
}

function enter() {
  const stop = new AbortController()
  open = stop
  const feed = createFeed(api, stop.signal)
  const shown = showShell(place, {
    places,
    session,
    api,
    tryNow: () => {
      feed.now()
      route()
    },
    logOut: () => logOut(),
    lookAt: (chosen) => {
      pod = chosen
      feed.restart()
      route()
    },
  })
  shell = shown
  listenToKeys(places, stop.signal)
  feed.listen(() => {
    const { overview } = feed
    if (!overview) return
    shown.told(overview)
    const { isReady, isDraining, notReadyReasons } = overview
    const parts = [
      missingPods.length > 0 && `No answer from ${missingPods.join(', ')}: what is theirs is not shown.`,
      isDraining && 'The broker is draining: it takes no new connections.',
      !isReady && !isDraining && `Not ready: ${notReadyReasons.join(', ')}.`,
    ]
    shown.banner.show(parts.filter((part) => part !== false).join(' '))
  }, stop.signal)

  /** @type {AbortController | undefined} */
  let page
  const route = () => {
    page?.abort()
    page = new AbortController()
    closeDialogs()
    const signal = AbortSignal.any([stop.signal, page.signal])
    const [name = '', search = ''] = location.hash.replace(/^#\/?/, '').split(/\?(.*)/s)
    const chosen = pages.get(name) ?? home
    shown.opened(`#/${chosen.under ?? (chosen === home ? 'overview' : name)}`)
    chosen.open(viewOf(shown.main, new URLSearchParams(search), signal, feed))
  }
  window.addEventListener('hashchange', route, { signal: stop.signal })
  route()
}

/**
 * @param {HTMLElement} main
 * @param {URLSearchParams} query
 * @param {AbortSignal} signal
 * @param {ReturnType<typeof createFeed>} feed
 * @returns {View}
 */
function viewOf(main, query, signal, feed) {
  const wrong = h('p', { class: 'error', hidden: true })
  return {
    api,
    session,
    feed,
    query,
    signal,
    show(title, ...children) {
      const heading = h('h1', { tabindex: '-1' }, title)
      document.title = `${title} – TunnelMQ`
      fill(main, heading, wrong, children)
      scrollTo(0, 0)
      heading.focus({ preventScroll: true })
    },
    poll(work, everyMs) {
      return poll(
        async () => {
          try {
            await work()
            wrong.hidden = true
          } catch (error) {
            if (signal.aborted) return
            setText(wrong, reasonOf(error))
            wrong.hidden = false
            throw error
          }
        },
        everyMs,
        signal,
      )
    },
  }
}

applyTheme()
const reason = session.secret === '' ? '' : await openSession(api, session)
if (reason === undefined) enter()
else showLogin(place, api, session, enter, reason)
