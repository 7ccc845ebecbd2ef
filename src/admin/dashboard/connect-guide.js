/**
 * How to reach a service of an agent: commands to be copied. The commands are those of docs/tunnels.md.
 *
 * @import { Agent, Listener } from '../api/resources.ts'
 */
import { copyable } from './copy.js'
import { fill, h } from './dom.js'
import { field } from './part.js'

/** Local ports that a person would choose; others count up from 9000. */
const USUAL_PORTS = new Map([
  ['ssh', 2222],
  ['web', 8080],
  ['http', 8080],
  ['https', 8443],
  ['vnc', 5901],
  ['rdp', 3390],
  ['postgres', 5433],
  ['mysql', 3307],
  ['redis', 6380],
  ['mqtt', 1884],
])
const FIRST_OTHER_PORT = 9000
/** Those by which a client outside comes, the best first. */
const PREFERRED = ['mqtts:', 'wss:', 'mqtt:', 'ws:']

/** As a shell takes it. @param {string} text */
export function quoted(text) {
  return /^[\w.,:/@%+=-]+$/.test(text) ? text : `'${text.replaceAll("'", String.raw`'\''`)}'`
}

/**
 * The address of the broker as this browser sees it: a listener's scheme and port, and the host of this page.
 *
 * @param {readonly Pick<Listener, 'url'>[]} listeners
 * @param {string} hostname
 */
export function brokerUrl(listeners, hostname) {
  for (const scheme of PREFERRED) {
    const found = listeners.find(({ url }) => url.startsWith(`${scheme}//`))
    if (found) {
      const url = new URL(found.url)
      // The parsers of browsers know no hosts in these schemes' URLs that they could change: built by hand.
      return `${scheme}//${hostname}${url.port ? `:${url.port}` : ''}${url.pathname === '/' ? '' : url.pathname}`
    }
  }
  return `mqtt://${hostname}:1883`
}

/**
 * @typedef {{ what: string, text: string, note?: string }} Recipe
 *
 * @param {string} agent
 * @param {string} service
 * @param {number} order  of the service at its agent
 * @returns {Recipe[]}
 */
export function recipesOf(agent, service, order = 0) {
  const port = USUAL_PORTS.get(service) ?? FIRST_OTHER_PORT + order
  const forward = {
    what: 'A port on your machine',
    text: `tunnelmq forward ${port}=${quoted(`${agent}/${service}`)}`,
    note: /^(web|http)/.test(service)
      ? `then open ${service === 'https' ? 'https' : 'http'}://127.0.0.1:${port}/`
      : `then use 127.0.0.1:${port}`,
  }
  const stdio = {
    what: 'Standard input and output',
    text: `tunnelmq connect ${quoted(`${agent}/${service}`)}`,
  }
  if (!service.startsWith('ssh')) return [forward, stdio]
  // `ssh` and `connect` take the ending away, by which ssh's configuration knows our hosts.
  if (agent.endsWith('.tunnel')) return [forward]
  const other = service === 'ssh' ? '' : `--service ${quoted(service)} `
  const host = `${agent}${service === 'ssh' ? '' : `-${service}`}.tunnel`
  const config =
    service === 'ssh'
      ? 'Host *.tunnel\n  ProxyCommand tunnelmq connect %h/ssh'
      : `Host ${host}\n  ProxyCommand tunnelmq connect ${agent}/${service}`
  return [
    {
      what: 'A shell',
      text: `tunnelmq ssh ${other}${quoted(agent)}`,
      note: 'or user@name, and the options of ssh',
    },
    { what: 'In ~/.ssh/config, for ssh, scp, sftp, rsync, git', text: config, note: `then: ssh ${host}` },
    { what: 'A file, with that', text: `scp FILE ${quoted(`${host}:`)}` },
    forward,
  ]
}

/**
 * @param {Pick<Agent, 'name' | 'services' | 'mountpoint'>} agent
 * @param {readonly Pick<Listener, 'url'>[]} listeners
 */
export function connectGuide(agent, listeners) {
  const address = h('input', { value: brokerUrl(listeners, location.hostname), spellcheck: 'false' })
  const file = h('div')
  const writeFile = () =>
    fill(file, copyable(`broker: ${address.value}\nusername: YOU\npasswordFile: password`, 'client.yaml'))
  address.addEventListener('input', writeFile)
  writeFile()
  return h(
    'div',
    { class: 'guide' },
    agent.services.map((service, order) =>
      h(
        'section',
        {},
        h('h3', {}, h('code', {}, service)),
        recipesOf(agent.name, service, order).map(({ what, text, note }) =>
          h(
            'div',
            { class: 'recipe' },
            h('p', {}, what, note && h('span', { class: 'muted' }, ` · ${note}`)),
            copyable(text, what),
          ),
        ),
      ),
    ),
    agent.services.length === 0 && h('p', { class: 'muted' }, 'It offers no service.'),
    h(
      'details',
      {},
      h('summary', {}, 'Once on your machine: where the broker is'),
      h(
        'p',
        {},
        'In ',
        h('code', {}, '~/.config/tunnelmq/client.yaml'),
        ', with the password in the file ',
        h('code', {}, 'password'),
        ' beside it (chmod 600):',
      ),
      field('The broker, as your machine reaches it', address),
      file,
      agent.mountpoint !== '' &&
        h(
          'p',
          { class: 'muted' },
          `The agent is in the mountpoint ${agent.mountpoint}: your user has to be there too.`,
        ),
    ),
  )
}
