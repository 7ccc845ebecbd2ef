import mqtt, { type IClientOptions, type MqttClient } from 'mqtt'
import type { Page } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest'
import { openStream } from '../../../src/tunnel/index.ts'
import { createDashboardWorld, startEchoAgent, type DashboardWorld } from '../../support/dashboard-world.ts'
import { eventually } from '../../support/eventually.ts'

const HOSTILE = '<img src=x onerror="globalThis.hit=1">'
const LONG_NAME = `${'long'.repeat(20)} ${HOSTILE}`
const SESSIONS = 10_000

let world: DashboardWorld
let agent: Awaited<ReturnType<typeof startEchoAgent>>
/** Logged in with all rights; tests go to their page in it. */
let page: Page

beforeAll(async () => {
  world = await createDashboardWorld({ storedSessions: SESSIONS })
  agent = await startEchoAgent(world.broker.url, 'pi7')
  page = await world.open({ viewport: { width: 1280, height: 860 } })
  await world.enter(page)
})

afterAll(async () => {
  await agent.close()
  await world.end()
})

async function connect(clientId: string, options: IClientOptions = {}): Promise<MqttClient> {
  const client = await mqtt.connectAsync(world.broker.url, { clientId, reconnectPeriod: 0, ...options })
  onTestFinished(() => client.endAsync(true))
  return client
}

async function go(hash: string, where = page): Promise<void> {
  await where.evaluate(`location.hash = ${JSON.stringify(hash)}`)
}

const clientHash = (id: string): string => `#/client?${new URLSearchParams({ id }).toString()}`
const row = (text: string, where = page) => where.locator('tbody tr', { hasText: text })

describe('the way in', () => {
  it('lets nobody in with a wrong key, and says why; the right one stays in this tab only', async () => {
    const own = await world.open({ mayFail: true })
    await own.getByLabel('API key').fill(`tmq_boss_${'A'.repeat(43)}`)
    await own.getByRole('button', { name: 'Open' }).click()
    await own.getByRole('alert').filter({ hasText: 'does not know this key' }).waitFor()
    expect(await own.evaluate('sessionStorage.length')).toBe(0)

    await world.enter(own, '#/pods', world.keys.viewer)
    await own.getByRole('heading', { name: 'Pods' }).waitFor()
    await own.reload()
    await own.getByRole('heading', { name: 'Pods' }).waitFor()
    expect(await own.evaluate('[...Object.keys(localStorage), document.cookie]')).toEqual([''])
    await own.getByRole('button', { name: 'Log out' }).click()
    await own.getByLabel('API key').waitFor()
    expect(await own.evaluate('sessionStorage.length')).toBe(0)
    await own.context().close()
  })

  it('says which scope a key lacks', async () => {
    const own = await world.open()
    await own.getByLabel('API key').fill(world.keys.tracer)
    await own.getByRole('button', { name: 'Open' }).click()
    await own.getByRole('alert').filter({ hasText: 'scope read. Its scopes: trace' }).waitFor()
    await own.context().close()
  })
})

describe('the overview', () => {
  it('moves with what the broker does', async () => {
    await go('#/overview')
    const chart = page.locator('.chart', { hasText: 'Messages per second' })
    const client = await connect('busy')
    const traffic = setInterval(() => client.publish('traffic', 'x'), 20)
    onTestFinished(() => clearInterval(traffic))
    await eventually(() => chart.locator('.series-0 b').textContent()).toMatch(/^[1-9]/)
    await chart.locator('path.line').first().waitFor({ state: 'attached' })
    expect(await chart.locator('svg').getAttribute('aria-label')).toMatch(/Now: in [\d.]+, out/)
    const tile = page.locator('.tile', { hasText: 'Clients' })
    expect(await tile.textContent()).toMatch(/10,00\d stored sessions/)
  })
})

describe('clients', () => {
  it('come in pages, and are searched by the broker', async () => {
    await go('#/clients')
    await page.getByText(/^1–100 of 10,00\d$/).waitFor()
    expect(await page.locator('tbody tr').count()).toBe(100)
    await page.getByRole('button', { name: 'Next' }).click()
    await page.getByText(/^101–200 of /).waitFor()
    const first = await page.locator('tbody tr').first().textContent()
    expect(first).toMatch(/sensor-000\d\d/)
    await page.getByRole('button', { name: 'Previous' }).click()
    await page.getByText(/^1–100 of /).waitFor()

    await page.getByLabel('Search').fill('sensor-0999')
    await page.getByText(/^1–10( of 10)?$/).waitFor()
    expect(await page.locator('tbody tr').count()).toBe(10)
    await page.getByLabel('State').selectOption('connected')
    await page.getByText('No client is like that.').waitFor()
    await page.getByLabel('Search').fill('pi7')
    await row('pi7').waitFor()
    expect(page.url()).toContain('search=pi7&state=connected')
  })

  it('are shown under the names that they chose, as text', async () => {
    const client = await connect(HOSTILE, { will: { topic: 'a/<b>will</b>', payload: Buffer.from('gone') } })
    await client.subscribeAsync('<script>globalThis.hit=1</script>/#')
    client.publish('forbidden/<i>x</i>', 'x')
    await go('#/clients')
    await page.getByLabel('Search').fill('onerror')
    await row(HOSTILE).getByRole('link').click()
    await page.getByRole('heading', { name: HOSTILE }).waitFor()
    await row('<script>globalThis.hit=1</script>/#').waitFor()
    await page.getByText('a/<b>will</b>').waitFor()
    await go('#/refusals')
    await row('forbidden/<i>x</i>').first().waitFor()
    expect(await row('forbidden/<i>x</i>').first().textContent()).toContain(HOSTILE)
    expect(await page.evaluate("'hit' in globalThis")).toBe(false)
    expect(await page.locator('main img, main script, main b b, main i i').count()).toBe(0)
  })

  it('are disconnected, after a question', async () => {
    const client = await connect('to-be-cut', { clean: false })
    const closed = new Promise<void>((resolve) => client.once('close', () => resolve()))
    await go(clientHash('to-be-cut'))
    await page.getByRole('button', { name: 'Disconnect' }).click()
    await page.getByRole('dialog').getByRole('button', { name: 'Close' }).click()
    expect(client.connected).toBe(true)
    await page.getByRole('button', { name: 'Disconnect' }).click()
    await page.getByRole('dialog').getByRole('button', { name: 'Disconnect' }).click()
    await closed
    await page.locator('.badge', { hasText: 'offline' }).waitFor()
  })

  it('show what waits for them, and are removed with it', async () => {
    const away = await connect('away', { clean: false })
    await away.subscribeAsync('letters/#', { qos: 1 })
    await away.endAsync()
    const sender = await connect('sender')
    await sender.publishAsync('letters/1', '{"read": "me"}', { qos: 1 })
    await go(clientHash('away'))
    await page.getByRole('button', { name: 'Show' }).click()
    await row('letters/1').getByRole('button').click()
    await page.getByRole('dialog').getByText('"read": "me"').waitFor()
    await page.keyboard.press('Escape')
    await page.getByRole('button', { name: 'Remove session' }).click()
    await page.getByText('1 message that wait for it are lost').waitFor()
    await page.getByRole('dialog').getByRole('button', { name: 'Remove session' }).click()
    await page.getByRole('heading', { name: 'Clients' }).waitFor()
    const again = await mqtt.connectAsync(world.broker.url, { clientId: 'away', clean: false })
    onTestFinished(() => again.endAsync(true))
    await go(clientHash('away'))
    await page.getByText('It has subscribed to nothing.').waitFor()
  })

  it('are explained and traced', async () => {
    const client = await connect('watched')
    await go(clientHash('watched'))
    await page.getByLabel('Topic').fill('forbidden/fruit')
    await page.getByRole('button', { name: 'Why?' }).click()
    await page.locator('.answer .verdict', { hasText: 'refused' }).waitFor()
    expect(await page.locator('.steps').textContent()).toContain('acl-file')

    await page.getByLabel('with payloads').check()
    await page.getByRole('button', { name: 'Start trace' }).click()
    const packets = page.getByRole('log')
    const traffic = setInterval(() => client.publish('seen/<u>here</u>', 'the payload'), 50)
    onTestFinished(() => clearInterval(traffic))
    await packets.getByText('seen/<u>here</u>').first().waitFor()
    await packets.getByText('the payload').first().waitFor()
    await page.getByRole('button', { name: 'Stop trace' }).click()
    await page.getByText('Stopped.').waitFor()
  })
})

describe('retained messages', () => {
  it('are walked as a tree, looked into, and deleted', async () => {
    const client = await connect('publisher')
    await client.publishAsync('home/kitchen/temp', '{"value":21.4}', { qos: 1, retain: true })
    await client.publishAsync('home/kitchen/raw', Buffer.from([0, 1, 0xfe]), { qos: 1, retain: true })
    await client.publishAsync('home/<b>x</b>', 'plain', { qos: 1, retain: true })
    await go('#/topics')
    await row('home/').getByRole('button').click()
    await row('kitchen/').getByRole('button').click()
    await row('<b>x</b>').waitFor()
    await row('raw').getByRole('button').click()
    await page.getByRole('dialog').getByText('00 01 fe').waitFor()
    await page.keyboard.press('Escape')
    await row('temp').getByRole('button').click()
    const dialog = page.getByRole('dialog')
    await dialog.getByText('"value": 21.4').waitFor()
    await dialog.getByRole('button', { name: 'Hex' }).click()
    await dialog.getByText('7b 22 76').waitFor()
    await dialog.getByRole('button', { name: 'Delete' }).click()
    await page.getByRole('dialog').getByRole('button', { name: 'Delete' }).click()
    await row('temp').waitFor({ state: 'detached' })
    const got: string[] = []
    client.on('message', (topic) => got.push(topic))
    await client.subscribeAsync('home/kitchen/+')
    await eventually(() => got).toEqual(['home/kitchen/raw'])
  })
})

describe('agents and tunnels', () => {
  it('say how to connect', async () => {
    await go('#/tunnels')
    await row('pi7').getByRole('link').first().click()
    const guide = page.locator('.guide')
    await guide.getByText('tunnelmq ssh pi7', { exact: true }).waitFor()
    const text = await guide.locator('code').allTextContents()
    expect(text).toContain('Host *.tunnel\n  ProxyCommand tunnelmq connect %h/ssh')
    expect(text).toContain('tunnelmq forward 2222=pi7/ssh')
    expect(text).toContain('tunnelmq forward 8080=pi7/web')
    expect(text).toContain('tunnelmq connect pi7/docker')
    expect(text.join('\n')).toContain(`broker: ${world.broker.url}`)
  })

  it('show what passes through a stream, and cut it', async () => {
    const stream = await openStream('pi7/ssh', { url: world.broker.url })
    onTestFinished(() => void stream.destroy())
    stream.on('error', () => undefined)
    stream.resume()
    const closed = new Promise<void>((resolve) => stream.once('close', () => resolve()))
    const traffic = setInterval(() => stream.write('x'.repeat(1_000)), 20)
    onTestFinished(() => clearInterval(traffic))
    await go('#/tunnels')
    const line = page.getByRole('table', { name: 'Streams' }).locator('tbody tr')
    await eventually(() => line.locator('[data-label=Up]').textContent()).toMatch(/^\d.*KiB\/s$/)
    await line.getByRole('button', { name: 'Cut' }).click()
    await page.getByRole('dialog').getByRole('button', { name: 'Cut' }).click()
    await closed
    clearInterval(traffic)
    await page.getByText('No stream is open.').waitFor()
  })
})

describe('identities', () => {
  it('are made with a role, shown as text with a secret once, kept out, and deleted', async () => {
    const dialog = page.getByRole('dialog')
    await go('#/identities')
    await page.getByRole('button', { name: 'New role' }).click()
    await dialog.getByLabel('Name').fill('operator')
    await dialog.getByLabel('Rules').fill('permit publish x')
    await dialog.getByRole('button', { name: 'Create' }).click()
    await dialog.getByRole('alert').filter({ hasText: 'Line 1 is not' }).waitFor()
    await dialog.getByLabel('Rules').fill('deny publish x/secret\nallow publish,subscribe x/%u/#')
    await dialog.getByRole('button', { name: 'Create' }).click()
    await row('operator').getByText('allow publish,subscribe x/%u/#').waitFor()

    await page.getByRole('button', { name: 'New identity' }).click()
    await dialog.getByLabel('Name').fill(HOSTILE)
    await dialog.getByLabel('Roles').fill('operator')
    await dialog.getByRole('button', { name: 'Create' }).click()
    const password = (await dialog.locator('code').textContent()) ?? ''
    await page.keyboard.press('Escape')
    const client = await connect('theirs', { username: HOSTILE, password })
    const closed = new Promise<void>((resolve) => client.once('close', () => resolve()))
    await row(HOSTILE).getByRole('link').click()
    await page.getByRole('heading', { name: HOSTILE }).waitFor()
    await page.getByRole('button', { name: 'New key' }).click()
    expect(await dialog.locator('code').textContent()).toMatch(/^tmqi_/)
    await page.keyboard.press('Escape')
    await page.getByRole('table', { name: 'Keys' }).getByText('never').waitFor()
    expect(await page.content()).not.toContain(password)

    await page.getByRole('button', { name: 'Disable' }).click()
    await dialog.getByRole('button', { name: 'Disable' }).click()
    await closed
    await page.locator('.badge', { hasText: 'disabled' }).waitFor()
    await page.locator('.row').getByRole('button', { name: 'Delete' }).click()
    await dialog.getByRole('button', { name: 'Delete' }).click()
    await page.getByText('No identity is like that.').waitFor()
    expect(await page.evaluate("'hit' in globalThis")).toBe(false)
  })
})

describe('the other pages', () => {
  it('ban an address and lift it, and say so in the audit', async () => {
    await go('#/bans')
    await page.getByLabel('Address').fill('203.0.113.9')
    await page.getByRole('button', { name: 'Ban', exact: true }).click()
    await page.getByRole('dialog').getByRole('button', { name: 'Ban' }).click()
    await row('203.0.113.9').getByRole('button', { name: 'Lift' }).click()
    await page.getByRole('dialog').getByRole('button', { name: 'Lift the ban' }).click()
    await page.getByText('No address is banned.').waitFor()
    await go('#/audit')
    await row('203.0.113.9').nth(1).waitFor()
    expect(await row('203.0.113.9').first().textContent()).toContain('boss')
  })

  it('drain and go on, change the log level, show the configuration', async () => {
    await go('#/settings')
    await page.getByText('"listeners"').waitFor()
    await page.getByLabel('Log from').selectOption('warn')
    await page.getByRole('button', { name: 'Set' }).click()
    await page.getByText('The log level is warn.').waitFor()
    await page.getByLabel('Send clients away').selectOption('over half an hour')
    await page.getByRole('button', { name: 'Drain' }).click()
    await page.getByRole('dialog').getByRole('button', { name: 'Drain' }).click()
    await page.getByRole('alert').filter({ hasText: 'draining' }).waitFor()
    await page.getByRole('button', { name: 'Accept again' }).click()
    await page.locator('.top .state', { hasText: 'ready' }).waitFor()
  })
})

describe('a key that may only read', () => {
  it('sees no button that changes anything, and why', async () => {
    const own = await world.open()
    await world.enter(own, clientHash('pi7'), world.keys.viewer)
    await own.getByText('This key only shows: changes need scope write.').waitFor()
    await own.getByText('both need scope trace').waitFor()
    for (const hash of [
      clientHash('pi7'),
      '#/tunnels',
      '#/identities',
      '#/bans',
      '#/settings',
      '#/inspect',
      '#/audit',
    ]) {
      await go(hash, own)
      await own.waitForLoadState('networkidle')
      expect(await own.locator('button.danger').count()).toBe(0)
      expect(
        await own.getByRole('button', { name: /Start trace|Why\?|^Set$|Accept again|^New / }).count(),
      ).toBe(0)
    }
    await own.context().close()
  })
})

describe('every page', () => {
  const hashes = [
    '#/overview',
    '#/clients',
    clientHash('pi7'),
    '#/topics',
    '#/tunnels',
    '#/agent?name=pi7',
    '#/inspect',
    '#/identities',
    `#/identity?name=${encodeURIComponent(LONG_NAME)}`,
    '#/pods',
    '#/listeners',
    '#/refusals',
    '#/bans',
    '#/audit',
    '#/settings',
  ]

  it('fits a phone of 360 px, also with long names, and follows dark and light', async () => {
    const client = await connect(`${'long'.repeat(40)} ${HOSTILE}`)
    await client.publishAsync(`${'deep/'.repeat(20)}${'wide'.repeat(40)}`, 'x'.repeat(500), {
      qos: 1,
      retain: true,
    })
    const made = await fetch(`${world.broker.adminUrl}/api/v1/identities`, {
      method: 'POST',
      headers: { authorization: `Bearer ${world.keys.boss}`, 'content-type': 'application/json' },
      body: JSON.stringify({ name: LONG_NAME, clientId: 'c'.repeat(200), description: 'd'.repeat(500) }),
    })
    expect(made.status).toBe(201)
    const own = await world.open({ viewport: { width: 360, height: 740 }, colorScheme: 'dark' })
    await world.enter(own)
    for (const hash of [...hashes, clientHash(`${'long'.repeat(40)} ${HOSTILE}`)]) {
      await go(hash, own)
      await own.locator('main h1').waitFor()
      await own.waitForLoadState('networkidle')
      expect([hash, await own.evaluate('document.documentElement.scrollWidth')]).toEqual([hash, 360])
    }
    const ground = () => own.evaluate('getComputedStyle(document.body).backgroundColor')
    expect(await ground()).toBe('rgb(14, 18, 23)')
    await own.getByRole('button', { name: 'Theme: auto' }).click()
    expect(await ground()).toBe('rgb(244, 246, 248)')
    await own.reload()
    await own.getByRole('button', { name: 'Theme: light' }).click()
    expect(await ground()).toBe('rgb(14, 18, 23)')
    await own.getByRole('button', { name: 'Menu' }).click()
    await own.getByRole('link', { name: 'Pods' }).click()
    await own.getByRole('heading', { name: 'Pods' }).waitFor()
    await own.context().close()
  })
})

describe('the keyboard', () => {
  it('is enough', async () => {
    const { keyboard } = page
    const client = await connect('publisher')
    for (const topic of ['rooms/a/1', 'rooms/a/2', 'rooms/b'])
      await client.publishAsync(topic, 'x', { qos: 1, retain: true })
    await go('#/overview')
    await page.getByRole('heading', { name: 'Overview' }).waitFor()
    await keyboard.press('?')
    await page.getByRole('dialog').getByText('next and previous row').waitFor()
    await keyboard.press('Escape')
    await keyboard.type('gc')
    await page.getByText(/^1–100 of /).waitFor()
    await keyboard.press('/')
    await keyboard.type('sensor-0123')
    await page.getByText(/^1–10( of 10)?$/).waitFor()
    await keyboard.press('Escape')
    await keyboard.type('jj')
    await keyboard.press('ArrowDown')
    await keyboard.press('k')
    await keyboard.press('Enter')
    await page.getByRole('heading', { name: 'sensor-01231' }).waitFor()
    await keyboard.type('gt')
    await page.getByRole('heading', { name: 'Topics' }).waitFor()
    await row('rooms/').waitFor()
    await keyboard.press('j')
    while (!(await page.evaluate<string>('document.activeElement.textContent')).includes('rooms/')) {
      await keyboard.press('j')
    }
    await keyboard.press('ArrowRight')
    await row('a/ 2').waitFor()
    await keyboard.press('ArrowLeft')
    await row('a/ 2').waitFor({ state: 'detached' })
    // The first stop of the page, whatever stands before its content.
    await page.evaluate("document.querySelector('button').focus()")
    expect(await page.evaluate('document.activeElement.textContent')).toBe('Skip to the content')
    await keyboard.press('Enter')
    expect(await page.evaluate('document.activeElement.id')).toBe('main')
  })
})

describe('a broker that is away', () => {
  it('is said to be away, and found again by itself', async () => {
    const own = await world.open({ mayFail: true })
    await world.enter(own, '#/clients')
    await own.getByText(/^1–100 of /).waitFor()
    await own.context().setOffline(true)
    await own.getByRole('alert').filter({ hasText: 'cannot be reached' }).waitFor()
    await own.locator('.top .state', { hasText: 'no answer' }).waitFor()
    // What was there stays to be read.
    expect(await own.locator('tbody tr').count()).toBe(100)
    await own.context().setOffline(false)
    await own.getByRole('alert').waitFor({ state: 'hidden' })
    await own.locator('.top .state', { hasText: 'ready' }).waitFor()
    await own.context().close()
  })
})

describe('all along', () => {
  it('nothing was asked of other hosts, and the browser had no complaint', () => {
    expect(world.complaints).toEqual([])
  })
})
