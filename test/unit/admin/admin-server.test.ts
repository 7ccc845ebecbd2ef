import { createServer } from 'node:http'
import { connect } from 'node:net'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { afterEach, describe, expect, it } from 'vitest'
import { createBrokerCounters } from '../../../src/counters.ts'
import type { BrokerReadModel } from '../../../src/admin/read-model.ts'
import { startAdminServer, type AdminServer } from '../../../src/admin/server.ts'
import { createSilentLog } from '../../../src/log.ts'
import { fakeReadModel } from './fake-read-model.ts'

const running: AdminServer[] = []
afterEach(async () => {
  await Promise.all(running.splice(0).map((server) => server.close()))
})

async function start(model: BrokerReadModel): Promise<string> {
  const server = await startAdminServer({ host: '127.0.0.1', port: 0, model, log: createSilentLog() })
  running.push(server)
  return server.url
}

describe('the admin server', () => {
  it('says that it is live, with version and uptime', async () => {
    const url = await start(fakeReadModel({ version: '1.2.3', startedAtMs: Date.now() - 5_000 }))
    const response = await fetch(`${url}/live`)
    expect(response.status).toBe(200)
    const body = (await response.json()) as { uptimeSeconds: number }
    expect(body).toMatchObject({ status: 'live', version: '1.2.3' })
    expect(body.uptimeSeconds).toBeGreaterThanOrEqual(5)
    expect(response.headers.get('cache-control')).toBe('no-store')
  })

  it('is ready without reasons, and answers 503 with them', async () => {
    const reasons: string[] = []
    const url = await start(fakeReadModel({ notReadyReasons: () => reasons }))
    expect((await fetch(`${url}/ready`)).status).toBe(200)
    reasons.push('store: disk full')
    const response = await fetch(`${url}/ready`)
    expect(response.status).toBe(503)
    expect(await response.json()).toEqual({ status: 'not ready', reasons: ['store: disk full'] })
  })

  it('answers a health check in HTTP/1.0 without a Host, as HAProxy sends it', async () => {
    const url = new URL(await start(fakeReadModel()))
    const socket = connect(Number(url.port), url.hostname)
    let answer = ''
    socket.on('data', (chunk: Buffer) => (answer += chunk.toString()))
    socket.write('GET /ready HTTP/1.0\r\n\r\n')
    await once(socket, 'close')
    expect(answer).toMatch(/^HTTP\/1\.1 200 OK\r\n/)
  })

  it('answers 404 for what it does not serve, and HEAD like GET', async () => {
    const url = await start(fakeReadModel())
    expect((await fetch(`${url}/nothing`)).status).toBe(404)
    expect((await fetch(`${url}/live`, { method: 'POST' })).status).toBe(404)
    expect((await fetch(`${url}/live`, { method: 'HEAD' })).status).toBe(200)
  })

  it('answers 500 without details when the broker cannot be read, and goes on', async () => {
    let isBroken = true
    const url = await start(
      fakeReadModel({
        notReadyReasons: () => {
          if (isBroken) throw new Error('secret detail')
          return []
        },
      }),
    )
    const response = await fetch(`${url}/ready`)
    expect(response.status).toBe(500)
    expect(await response.text()).not.toContain('secret detail')
    isBroken = false
    expect((await fetch(`${url}/ready`)).status).toBe(200)
  })

  it('gives the metrics as Prometheus reads them', async () => {
    const counters = createBrokerCounters()
    counters.listener('tcp-1883', 'tcp').open = 3
    const url = await start(fakeReadModel({ counters }))
    const response = await fetch(`${url}/metrics`)
    expect(response.headers.get('content-type')).toContain('text/plain; version=0.0.4')
    expect(await response.text()).toContain('tunnelmq_connections{listener="tcp-1883",transport="tcp"} 3')
  })

  it('rejects with TMQ_LISTEN and the address when the port is taken', async () => {
    const other = createServer().listen(0, '127.0.0.1')
    await once(other, 'listening')
    const { port } = other.address() as AddressInfo
    const starting = startAdminServer({
      host: '127.0.0.1',
      port,
      model: fakeReadModel(),
      log: createSilentLog(),
    })
    await expect(starting).rejects.toMatchObject({
      code: 'TMQ_LISTEN',
      message: `admin cannot listen on 127.0.0.1:${port}: the port is in use (EADDRINUSE)`,
    })
    other.close()
  })

  it('closes with a client that has sent half a request', async () => {
    const url = new URL(await start(fakeReadModel()))
    const socket = connect(Number(url.port), url.hostname)
    await once(socket, 'connect')
    socket.write('GET /live HTTP/1.1\r\nHost: x\r\n')
    const closed = once(socket, 'close')
    await fetch(new URL('/live', url))
    await running.pop()?.close()
    await closed
    expect(socket.destroyed).toBe(true)
  })

  it('answers a probe while somebody holds as many connections as there may be', async () => {
    const url = new URL(await start(fakeReadModel()))
    const held = Array.from({ length: 256 }, () => connect(Number(url.port), url.hostname))
    for (const socket of held) socket.on('error', () => undefined)
    const sooner = Promise.race(held.map((socket) => once(socket, 'close').then(() => socket)))
    await Promise.all(held.map((socket) => once(socket, 'connect')))
    expect((await fetch(new URL('/live', url))).status).toBe(200)
    expect(held).toContain(await sooner)
    for (const socket of held) socket.destroy()
  })

  it('works on no thousand requests of one connection', async () => {
    let asked = 0
    const url = new URL(await start(fakeReadModel({ bannedCount: () => (asked += 1) })))
    const socket = connect(Number(url.port), url.hostname).on('error', () => undefined)
    const closed = once(socket, 'close')
    socket.write('GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n'.repeat(1_000))
    socket.resume()
    await closed
    expect(asked).toBeLessThan(10)
    expect((await fetch(new URL('/live', url))).status).toBe(200)
  })

  it('serves the dashboard from memory, and no other file', async () => {
    const server = await startAdminServer({
      host: '127.0.0.1',
      port: 0,
      model: fakeReadModel(),
      hasDashboard: true,
      log: createSilentLog(),
    })
    running.push(server)
    const page = await fetch(server.url)
    expect([page.status, page.headers.get('content-type')]).toEqual([200, 'text/html; charset=utf-8'])
    expect(page.headers.get('content-security-policy')).toBe(
      "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    )
    const etag = page.headers.get('etag') ?? ''
    const again = await fetch(server.url, { headers: { 'if-none-match': `"x", W/${etag}` } })
    expect([again.status, await again.text()]).toEqual([304, ''])
    expect((await fetch(`${server.url}/dashboard/main.js`)).headers.get('content-type')).toContain(
      'text/javascript',
    )
    const { hostname, port } = new URL(server.url)
    for (const path of [
      '/dashboard/../server.ts',
      '/dashboard/%2e%2e/server.ts',
      '/dashboard/..%2fserver.ts',
      '/dashboard/%2fetc/passwd',
      '/dashboard/',
      '/dashboard/pages',
      '/dashboard/constructor',
    ]) {
      const socket = connect(Number(port), hostname)
      let answer = ''
      socket.on('data', (chunk: Buffer) => (answer += chunk.toString()))
      socket.write(`GET ${path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`)
      await once(socket, 'close')
      expect([path, answer.slice(0, 12)]).toEqual([path, 'HTTP/1.1 404'])
    }
  })
})
