// `npm run screenshots`, after a build and where chromium is: a broker with some life on it, and pictures of its
// dashboard for docs/dashboard.md.
import { mkdtemp, mkdir, readFile, rm } from 'node:fs/promises'
import { connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { MqttClient } from 'mqtt'
import { chromium } from 'playwright-core'
import { AuthError, startBroker } from '../dist/index.js'
import { createAgent, openStream } from '../dist/tunnel/index.js'

/** Of the charts: as much as they show at first. */
const SECONDS = 52
const DEVICES = 140
const pictures = fileURLToPath(new URL('../docs/images/', import.meta.url))
const folder = await mkdtemp(join(tmpdir(), 'tmq-screenshots-'))

const broker = await startBroker({
  config: {
    listeners: [
      { name: 'mqtt', type: 'tcp', port: 0 },
      { name: 'behind-proxy', type: 'tcp', port: 0, proxyProtocol: 'trusted', trustedProxies: ['127.0.0.1'] },
      { name: 'devices', type: 'tcp', port: 0, handlers: [{ type: 'dynamic' }] },
    ],
    store: { type: 'memory' },
    admin: { port: 0, localKeyFile: join(folder, 'admin.key') },
    shutdown: { drainMs: 0 },
  },
  handlers: [
    {
      name: 'house-rules',
      authConnect: () => undefined,
      authSubscribe: () => undefined,
      authPublish(session, message) {
        if (message.topic.startsWith('locks/')) throw new AuthError(`${session.username} may not open doors`)
      },
    },
  ],
})
const [{ url }, proxied] = broker.listeners
const port = Number(new URL(proxied.url).port)

/** Comes through a proxy, so that it has an address of its own. */
async function client(clientId, { username = 'sensors', address = '192.0.2.7', ...options } = {}) {
  const stream = () => {
    const socket = connect(port, '127.0.0.1')
    socket.write(`PROXY TCP4 ${address} 198.51.100.1 ${20_000 + Math.floor(Math.random() * 40_000)} 1883\r\n`)
    return socket
  }
  const made = new MqttClient(stream, { clientId, username, reconnectPeriod: 0, ...options })
  await new Promise((resolve, reject) => made.once('connect', resolve).once('error', reject))
  return made
}

const clients = []
for (let index = 0; index < DEVICES; index++) {
  const name = `sensor-${String(index).padStart(4, '0')}`
  const one = await client(name, { address: `192.0.2.${index + 10}`, clean: index % 3 !== 0 })
  if (index % 2 === 0) await one.subscribeAsync([`config/${name}`, 'config/all'], { qos: 1 })
  if (index % 9 === 0) await one.endAsync()
  else clients.push(one)
}
const dashboard = await client('house-panel', { username: 'panel', address: '203.0.113.4' })
await dashboard.subscribeAsync(['rooms/#', 'weather/+'], { qos: 0 })
const log = await client('archive', { username: 'archive', address: '203.0.113.5' })
await log.subscribeAsync('#', { qos: 0 })
await dashboard.publishAsync('config/all', '{"intervalSeconds":30}', { qos: 1, retain: true })
await dashboard.publishAsync('rooms/kitchen/light', 'on', { qos: 1, retain: true })
await dashboard.publishAsync('locks/front', 'open')

const echo = createServer((socket) => socket.on('error', () => undefined).pipe(socket)).listen(0, '127.0.0.1')
await new Promise((resolve) => echo.once('listening', resolve))
const target = `127.0.0.1:${echo.address().port}`
const agents = [
  createAgent({ url, id: 'pi7', username: 'pi7', services: { ssh: { target }, web: { target } } }),
  createAgent({ url, id: 'barn', username: 'barn', services: { ssh: { target }, camera: { target } } }),
]
for (const agent of agents) await agent.connected()
const streams = [
  await openStream('pi7/ssh', { url, id: 'alice-laptop', username: 'alice' }),
  await openStream('barn/camera', { url, id: 'bob-desktop', username: 'bob' }),
]
for (const stream of streams) stream.resume()

const startedAtMs = Date.now()
const traffic = setInterval(() => {
  const wave = 1 + 0.5 * Math.sin((Date.now() - startedAtMs) / 6_000)
  for (let count = 0; count < 9 * wave + Math.random() * 4; count++) {
    const one = clients[Math.floor(Math.random() * clients.length)]
    one.publish(`rooms/${one.options.clientId}/temperature`, (18 + Math.random() * 6).toFixed(2))
  }
  streams[0].write(Buffer.alloc(120))
  streams[1].write(Buffer.alloc(4_000 * wave))
}, 100)

const browser = await chromium.launch({
  executablePath: '/usr/bin/chromium',
  args: ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run'],
})
const key = (await readFile(join(folder, 'admin.key'), 'utf8')).split('\n')[0]

/** @param {'PUT' | 'POST'} method */
async function send(method, path, body) {
  const headers = { authorization: `Bearer ${key}`, 'content-type': 'application/json' }
  const options = { method, headers, body: JSON.stringify(body) }
  const answer = await fetch(`${broker.adminUrl}/api/v1${path}`, options)
  if (!answer.ok) throw new Error(`${path}: ${await answer.text()}`)
}
const rule = (actions, on, allow = true) => ({ allow, actions: actions.split(','), on })
const roles = {
  device: [rule('serve', '%c/*'), rule('publish,subscribe', 'devices/%u/#')],
  operator: [
    rule('open', 'vault/*', false),
    rule('open', '*/ssh'),
    rule('subscribe', 'devices/#'),
    rule('subscribe', '$tunnel/+/status'),
  ],
  sensor: [rule('publish', 's/%u/config', false), rule('publish,subscribe', 's/%u/#')],
}
for (const [name, rules] of Object.entries(roles)) await send('PUT', `/roles/${name}`, { rules })
await send('PUT', '/groups/field', { roles: ['sensor'], description: 'everything outside' })
const people = { alice: { roles: ['operator'] }, bob: { roles: ['operator'], isEnabled: false } }
for (const [name, more] of Object.entries(people)) await send('POST', '/identities', { name, ...more })
for (const name of ['barn', 'pi7', 'vault'])
  await send('POST', '/identities', { name, clientId: name, roles: ['device'], password: 'not a secret' })
await send('POST', '/identities', { name: 'weather-1', clientId: 'weather-1', groups: ['field'] })
await send('POST', '/identities/weather-1/keys', {})

async function openPage(look, viewport, colorScheme) {
  const context = await browser.newContext({ viewport, colorScheme })
  const page = await context.newPage()
  await page.goto(`${broker.adminUrl}/`)
  await page.getByLabel('API key').fill(key)
  await page.getByRole('button', { name: 'Open' }).click()
  await page.getByRole('heading', { name: 'Overview' }).waitFor()
  await page.mouse.move(0, 0)
  return { look, page }
}
const desktop = { width: 1200, height: 740 }
const phone = { width: 390, height: 780 }
const pages = [
  await openPage('light', desktop, 'light'),
  await openPage('dark', desktop, 'dark'),
  await openPage('phone', phone, 'light'),
]
await new Promise((resolve) => setTimeout(resolve, SECONDS * 1_000))

await mkdir(pictures, { recursive: true })
/** Page, its hash, and the looks that docs/dashboard.md shows. */
const shots = [
  { name: 'overview', hash: '#/overview', looks: ['light', 'dark', 'phone'] },
  { name: 'clients', hash: '#/clients', looks: ['dark', 'phone'] },
  { name: 'agents', hash: '#/tunnels', looks: ['light', 'phone'] },
  { name: 'identities', hash: '#/identities', looks: ['light'] },
  { name: 'agent', hash: '#/agent?name=pi7', looks: ['light'] },
]
for (const { name, hash, looks } of shots) {
  const shown = pages.filter(({ look }) => looks.includes(look))
  for (const { page } of shown) await page.evaluate(`location.hash = ${JSON.stringify(hash)}`)
  // Until what it asks for is there; streams have rates with the second look.
  await shown[0].page.waitForTimeout(4_500)
  for (const { look, page } of shown) {
    await page.screenshot({ path: join(pictures, `dashboard-${name}-${look}.png`) })
  }
}

clearInterval(traffic)
await browser.close()
for (const stream of streams) stream.destroy()
for (const agent of agents) await agent.close()
for (const one of [...clients, dashboard, log]) await one.endAsync(true)
echo.close()
await broker.stop()
await rm(folder, { recursive: true })
process.exit(0)
