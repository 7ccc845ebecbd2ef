import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer, type AddressInfo, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { chromium, type Browser, type BrowserContextOptions, type Page } from 'playwright-core'
import { createKeyText, hashKey } from '../../src/admin/api-key.ts'
import type { Scope } from '../../src/admin/api/scopes.ts'
import { addKey } from '../../src/admin/key-file.ts'
import { createSilentLog } from '../../src/log.ts'
import { createEmbeddedStore } from '../../src/store/embedded/store.ts'
import { createAgent, type Agent } from '../../src/tunnel/index.ts'
import { startTestBroker, type TestBroker } from './broker.ts'
import { testLimits } from './store-fixtures.ts'

const keyNames = { boss: ['admin'], viewer: ['read'], tracer: ['trace'] } as const

/** Who may what: everything but `forbidden/`, without a user name. */
const ACL = 'topic readwrite #\ntopic readwrite $tunnel/#\ntopic read $SYS/#\ntopic deny forbidden/#\n'

/** A broker with clients and an agent, its dashboard, and a real browser. */
export interface DashboardWorld {
  readonly broker: TestBroker
  /** Texts of API keys, by name. */
  readonly keys: Readonly<Record<keyof typeof keyNames, string>>
  readonly browser: Browser
  /** What the browser complained about, and requests to others than this broker: of all pages. */
  readonly complaints: string[]
  /**
   * A page that nobody has logged in to. `mayFail`: answers with an error are a part of the test, so that the browser's
   * lines about them are none.
   */
  open(options?: BrowserContextOptions & { mayFail?: boolean; url?: string }): Promise<Page>
  /** Logged in, at a page of the dashboard. */
  enter(page: Page, hash?: string, key?: string): Promise<void>
  end(): Promise<void>
}

export interface DashboardWorldOptions {
  /** Stored sessions `sensor-00000`, `sensor-00001`, ... that are there from the start. */
  readonly storedSessions: number
}

export async function createDashboardWorld({
  storedSessions,
}: DashboardWorldOptions): Promise<DashboardWorld> {
  const folder = await mkdtemp(join(tmpdir(), 'tmq-dashboard-'))
  const keysFile = join(folder, 'api-keys')
  const keys = Object.fromEntries(Object.keys(keyNames).map((name) => [name, createKeyText(name)])) as Record<
    keyof typeof keyNames,
    string
  >
  for (const [name, scopes] of Object.entries(keyNames)) {
    await addKey(keysFile, {
      name,
      hash: hashKey(keys[name as keyof typeof keyNames]),
      scopes: new Set<Scope>(scopes),
      createdAtMs: Date.now(),
      expiresAtMs: undefined,
    })
  }
  await writeFile(join(folder, 'acl'), ACL)
  await storeSessions(join(folder, 'store'), storedSessions)
  const broker = await startTestBroker({
    listeners: [{ name: 'mqtt', type: 'tcp', port: 0, allowAnonymous: true }],
    handlers: [{ type: 'acl-file', file: join(folder, 'acl') }, { type: 'dynamic' }],
    store: { type: 'embedded', path: join(folder, 'store') },
    admin: { port: 0, keysFile, localKey: false },
  })
  const browser = await launchChromium()
  const complaints: string[] = []

  return {
    broker,
    keys,
    browser,
    complaints,
    async open({ mayFail = false, url = broker.adminUrl!, ...options } = {}) {
      const context = await browser.newContext(options)
      const page = await context.newPage()
      // Before the test's own limit, which would not say what is missing.
      page.setDefaultTimeout(20_000)
      page.on('console', (message) => {
        if (message.type() !== 'error' && message.type() !== 'warning') return
        if (mayFail && message.text().startsWith('Failed to load resource')) return
        complaints.push(`${message.type()} ${message.text()} ${message.location().url}`)
      })
      page.on('pageerror', (error) => complaints.push(`exception ${error.message}`))
      page.on('request', (request) => {
        const to = request.url()
        if (!to.startsWith(`${url}/`) && !to.startsWith('data:')) complaints.push(`request ${to}`)
      })
      await page.goto(`${url}/`)
      return page
    },
    async enter(page, hash = '#/overview', key = keys.boss) {
      await page.evaluate(`location.hash = ${JSON.stringify(hash)}`)
      await page.getByLabel('API key').fill(key)
      await page.getByRole('button', { name: 'Open' }).click()
      await page.locator('nav').waitFor({ state: 'attached' })
    },
    async end() {
      await browser.close()
      await broker.stop()
      await rm(folder, { recursive: true })
    },
  }
}

export function launchChromium(): Promise<Browser> {
  return chromium.launch({
    executablePath: '/usr/bin/chromium',
    // It makes a profile of its own for each start, and removes it.
    args: [
      '--headless',
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
    ],
  })
}

async function storeSessions(path: string, count: number): Promise<void> {
  const store = createEmbeddedStore({
    path,
    sync: false,
    cacheBytes: 1_000_000,
    limits: testLimits,
    log: createSilentLog(),
    retryMs: 20,
  })
  await store.open()
  await Promise.all(
    Array.from({ length: count }, (_, index) =>
      store.createSession('client', `sensor-${String(index).padStart(5, '0')}`),
    ),
  )
  await store.close()
}

/** An agent at this broker; its service `ssh` sends back what it gets. */
export async function startEchoAgent(
  url: string,
  id: string,
): Promise<{ agent: Agent; close(): Promise<void> }> {
  const sockets = new Set<Socket>()
  const server = createServer((socket) => {
    sockets.add(socket)
    socket.on('error', () => undefined)
    socket.pipe(socket)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const target = `127.0.0.1:${(server.address() as AddressInfo).port}`
  const agent = createAgent({ url, id, services: { ssh: { target }, web: { target }, docker: { target } } })
  await agent.connected()
  return {
    agent,
    async close() {
      await agent.close()
      for (const socket of sockets) socket.destroy()
      server.close()
    },
  }
}
