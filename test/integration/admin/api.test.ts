import { once } from 'node:events'
import { connect } from 'node:net'
import { readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { timeOf } from '../../../src/broker/operations/client-facts.ts'
import type { AuditEntry } from '../../../src/admin/api/resources.ts'
import { keyNameFault } from '../../../src/admin/api-key.ts'
import { askApi, createApiKeys, type ApiKeys, type AskApi } from '../../support/api.ts'
import { startTestBroker, type TestBroker } from '../../support/broker.ts'
import { connectMqtt, openBroker, temporaryFolder } from '../../support/broker-world.ts'
import { eventually } from '../../support/eventually.ts'

interface Named {
  readonly id?: string
  readonly topic?: string
}

let broker: TestBroker
let keys: ApiKeys
let ask: AskApi
let host: { hostname: string; port: number }

beforeAll(async () => {
  keys = await createApiKeys()
  broker = await startTestBroker({
    admin: { port: 0, keysFile: keys.file, maxBodyBytes: 1_000, metricsNeedKey: true },
  })
  ask = askApi(broker.adminUrl, keys.of.admin)
  const { hostname, port } = new URL(broker.adminUrl!)
  host = { hostname, port: Number(port) }
})
afterAll(async () => {
  await broker.stop()
  await keys.remove()
})

/** What the server writes until it closes the connection. */
async function raw(text: string): Promise<string> {
  const socket = connect(host.port, host.hostname)
  let answer = ''
  socket.on('data', (chunk: Buffer) => (answer += chunk.toString()))
  socket.write(text)
  await once(socket, 'close')
  return answer
}

describe('client ids in paths', () => {
  it.each([
    'a/b',
    '%2F',
    '%',
    'a b+c',
    'é/ü',
    '日本',
    '..',
    '.',
    'a/../b',
    '?x=1#y',
    'x'.repeat(256),
    '-',
    'queue',
  ])('finds and disconnects the client %j', async (id) => {
    await connectMqtt(broker.url, { clientId: id })
    const isDots = id === '.' || id === '..'
    const path = isDots ? '/clients/-' : `/clients/${encodeURIComponent(id)}`
    const query = isDots ? `?clientId=${id}` : ''
    expect(await ask('GET', path + query)).toMatchObject({ status: 200, body: { id, state: 'connected' } })
    expect((await ask('POST', `${path}/disconnect${query}`)).status).toBe(204)
    expect((await ask('GET', path + query)).status).toBe(404)
  })

  it('goes on behind names that are as long as the configuration lets them be, for as long as it lets them', async () => {
    const roomy = await openBroker({
      admin: { port: 0, keysFile: keys.file },
      limits: { maxClientIdBytes: 65_535, maxTopicBytes: 65_535 },
      // Longer than this is refused by the schema: a Date could not say it.
      session: { expiryMs: 4_294_967_295_000 },
    })
    const askRoomy = askApi(roomy.adminUrl, keys.of.admin)
    // Stores of before have longer ones.
    expect(timeOf(Number.MAX_SAFE_INTEGER)).toBe('9999-12-31T23:59:59.999Z')
    const names = ['a', 'b', 'c'].map((letter) => `${letter}${'é'.repeat(20_000)}`)
    for (const name of names) {
      const client = await connectMqtt(roomy.url, { clientId: name, clean: false })
      await client.publishAsync(name, 'x', { qos: 1, retain: true })
      await client.endAsync()
    }
    for (const [list, fieldOf] of [
      ['/clients?search=éé', ({ id }: Named) => id],
      ['/retained?filter=%2B', ({ topic }: Named) => topic],
    ] as const) {
      const found: (string | undefined)[] = []
      let after = ''
      do {
        const { status, body } = await askRoomy('GET', `${list}&limit=2${after}`)
        expect(status).toBe(200)
        const { items, next } = body as { items: Named[]; next: string | null }
        found.push(...items.map(fieldOf))
        after = next === null ? '' : `&after=${encodeURIComponent(next)}`
      } while (after !== '')
      expect(found).toEqual(names)
    }
    for (const name of names) {
      const encoded = encodeURIComponent(name)
      expect((await askRoomy('DELETE', `/clients/${encoded}`)).status).toBe(204)
      expect((await askRoomy('DELETE', `/retained/message?topic=${encoded}`)).status).toBe(204)
    }
  })

  it('refuses paths that are not percent-encoded UTF-8', async () => {
    for (const path of ['/clients/%ff', '/clients/%zz', '/clients/%'])
      expect([path, (await ask('GET', path)).status]).toEqual([path, 400])
  })
})

describe('requests that are wrong', () => {
  it('says what is wrong, where, and what was meant', async () => {
    const { status, headers, body } = await ask('GET', '/clients?limt=5&limit=0&state=conected&limit=1')
    expect(status).toBe(400)
    expect(headers.get('content-type')).toBe('application/problem+json')
    expect(body).toMatchObject({
      title: 'Bad Request',
      mistakes: [
        { in: 'query', at: 'limt', message: 'is not known; did you mean limit?' },
        { in: 'query', at: 'limit', message: 'is there more than once' },
        { in: 'query', at: 'state' },
      ],
    })
    expect(await ask('POST', '/bans', { body: { adress: '192.0.2.1' } })).toMatchObject({
      status: 400,
      body: {
        detail: expect.stringContaining('adress (body): is not known; did you mean address?') as string,
      },
    })
    expect((await ask('GET', '/clients?after=AAAA')).body).toMatchObject({ status: 400, code: 'TMQ_USAGE' })
    expect((await ask('GET', '/overview?pod=nobody')).body).toMatchObject({ status: 400 })
  })

  it('says which limit is in the way, and that it passes; and takes no id that asks a pod twice', async () => {
    const started: string[] = []
    let last = await ask('POST', '/traces', { body: { client: 'a' } })
    for (; last.status === 201; last = await ask('POST', '/traces', { body: { client: 'a' } }))
      started.push((last.body as { id: string }).id)
    expect(started).toHaveLength(4)
    expect(last).toMatchObject({
      status: 503,
      body: { code: 'TMQ_LIMIT', detail: expect.stringContaining('admin.maxTraces') as string },
    })
    const [part] = JSON.parse(Buffer.from(started[0]!, 'base64url').toString()) as unknown[]
    const twice = Buffer.from(JSON.stringify([part, part])).toString('base64url')
    expect((await ask('GET', `/traces/${twice}`)).status).toBe(404)
    for (const id of started) expect((await ask('DELETE', `/traces/${id}`)).status).toBe(204)
  })

  it('tells who waits for packets that the trace has ended', async () => {
    const { id } = (await ask('POST', '/traces', { body: { client: 'a' } })).body as { id: string }
    const waiting = ask('GET', `/traces/${id}?waitMs=10000`)
    // By then it waits.
    for (let turn = 0; turn < 3; turn++) await ask('GET', '/key')
    expect((await ask('DELETE', `/traces/${id}`)).status).toBe(204)
    expect(await waiting).toMatchObject({ status: 200, body: { packets: [], isOpen: false } })
  })

  it('takes no body that is not JSON, too large, or not asked for', async () => {
    const post = (body: string, type = 'application/json') =>
      fetch(`${broker.adminUrl}/api/v1/bans`, {
        method: 'POST',
        body,
        headers: { 'content-type': type, authorization: `Bearer ${keys.of.admin}` },
      })
    expect((await post('{"address":')).status).toBe(400)
    expect((await post('{"__proto__":{"x":1},"address":"192.0.2.9"}')).status).toBe(400)
    expect((await post('\ufffd'.repeat(400))).status).toBe(413)
    expect((await post('address=192.0.2.1', 'application/x-www-form-urlencoded')).status).toBe(415)
    expect((await ask('POST', '/clients/x/disconnect', { body: { a: 1 } })).status).toBe(400)
    expect((await ask('GET', '/bans')).body).toEqual([])
  })

  it('ends a body that is announced small and comes large, and one that never comes', async () => {
    const head = (rest: string): string =>
      `POST /api/v1/bans HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${keys.of.admin}\r\nContent-Type: application/json\r\n${rest}\r\n\r\n`
    const chunk = 'x'.repeat(600)
    expect(await raw(`${head('Transfer-Encoding: chunked')}258\r\n${chunk}\r\n258\r\n${chunk}\r\n`)).toMatch(
      /^HTTP\/1\.1 413 /,
    )
    expect(await raw(`${head('Content-Length: 20')}{"address"`)).toMatch(/^HTTP\/1\.1 408 /)
    expect(await raw('GARBAGE\r\n\r\n')).toMatch(/^HTTP\/1\.1 400 /)
    expect(await raw(`GET /live HTTP/1.1\r\nHost: x\r\nX: ${'y'.repeat(20_000)}\r\n\r\n`)).toMatch(
      /^HTTP\/1\.1 431 /,
    )
    expect((await ask('GET', '/key')).status).toBe(200)
  })
})

describe('keys', () => {
  it('are needed by /metrics where the configuration says so, and never by health', async () => {
    const get = async (path: string, key?: string) =>
      (
        await fetch(`${broker.adminUrl}${path}`, {
          headers: key === undefined ? {} : { authorization: `Bearer ${key}` },
        })
      ).status
    expect([
      await get('/metrics'),
      await get('/metrics', keys.of.write),
      await get('/metrics', keys.of.read),
    ]).toEqual([401, 403, 200])
    expect([await get('/live'), await get('/ready'), await get('/api/v1/openapi.json')]).toEqual([
      200, 200, 200,
    ])
  })

  it('are read again when the file changes; a bad file changes nothing', async () => {
    const added = await keys.add('added', ['read'])
    await eventually(async () => (await ask('GET', '/key', { key: added })).status).toBe(200)
    const text = await readFile(keys.file, 'utf8')
    await writeFile(keys.file, `${text}nonsense\n`)
    await eventually(() =>
      broker.events.some(({ msg }) => msg === 'API keys not read again: the old ones stay'),
    ).toBe(true)
    expect((await ask('GET', '/key', { key: added })).status).toBe(200)
    await writeFile(
      keys.file,
      text
        .split('\n')
        .filter((line) => !line.startsWith('added '))
        .join('\n'),
    )
    await eventually(async () => (await ask('GET', '/key', { key: added })).status).toBe(401)
  })

  it('expire', async () => {
    const short = await keys.add('short', ['read'], Date.now() + 1_000)
    await broker.reload()
    await eventually(async () => (await ask('GET', '/key', { key: short })).status).toBe(401)
    expect((await ask('GET', '/key', { key: short })).body).toMatchObject({
      detail: expect.stringMatching(/short has expired/) as string,
    })
  })

  it('are never in the log', () => {
    const log = JSON.stringify(broker.events)
    for (const key of Object.values(keys.of)) expect(log).not.toContain(key)
  })

  it('are limited: too many wrong ones, and too many requests', async () => {
    const limited = await openBroker({
      admin: { port: 0, keysFile: keys.file, failuresPerMinute: 2, requestsPerSecond: 3 },
    })
    const other = askApi(limited.adminUrl, keys.of.read)
    const wrong = async () => (await other('GET', '/key', { key: 'tmq_x_y' })).status
    expect([await wrong(), await wrong(), await wrong()]).toEqual([401, 401, 429])
    // Others at this address are not kept out.
    const answers = await Promise.all(Array.from({ length: 10 }, () => other('GET', '/key')))
    const refused = answers.filter(({ status }) => status === 429)
    expect(answers.some(({ status }) => status === 200)).toBe(true)
    expect(refused[0]?.headers.get('retry-after')).toBe('1')
    expect(limited.events.filter(({ msg }) => msg === 'wrong API key')).toHaveLength(2)
  })
})

describe('the local key', () => {
  it('is there while the broker runs, for its user alone', async () => {
    const file = join(await temporaryFolder(), 'data', 'admin.key')
    const local = await openBroker({ admin: { port: 0, localKey: true, localKeyFile: file } })
    const key = (await readFile(file, 'utf8')).split('\n')[0]
    expect((await stat(file)).mode & 0o777).toBe(0o600)
    expect((await askApi(local.adminUrl, key)('GET', '/key')).body).toMatchObject({
      name: 'local',
      isLocal: true,
    })
    expect(keyNameFault('local')).toBeDefined()

    const second = await openBroker({ admin: { port: 0, localKey: true, localKeyFile: file } })
    expect(second.events.map(({ msg }) => msg)).toContain(
      'no local key: its file is that of another broker; set admin.localKeyFile',
    )
    await second.stop()
    expect((await readFile(file, 'utf8')).split('\n')[0]).toBe(key)
    await local.stop()
    await expect(stat(file)).rejects.toThrow('ENOENT')
  })
})

describe('changes', () => {
  it('are in the audit log, with who and what came of it', async () => {
    await ask('POST', '/bans', { body: { address: '192.0.2.50', seconds: 60 } })
    await ask('DELETE', '/bans/192.0.2.50', { key: keys.of.read })
    await ask('DELETE', '/clients/nobody')
    const entries = (await ask('GET', '/audit?limit=3')).body
    expect(entries).toMatchObject([
      { key: 'admin', action: 'remove session', target: 'nobody', outcome: 'refused' },
      { key: 'read', action: 'unban', outcome: 'refused' },
      { key: 'admin', action: 'ban', target: '192.0.2.50 for 60 s', outcome: 'done', address: '127.0.0.1' },
    ])
    expect(broker.events).toContainEqual(
      expect.objectContaining({ msg: 'admin change', action: 'ban', key: 'admin', outcome: 'done' }),
    )
    expect((await ask('DELETE', '/bans/192.0.2.50')).status).toBe(204)
  })

  it('are kept short, however long what they name is', async () => {
    const long = 'x'.repeat(8_000)
    expect((await ask('DELETE', `/clients/${long}`, { key: keys.of.read })).status).toBe(403)
    expect((await ask('DELETE', `/clients/${long}`)).status).toBe(404)
    const entries = (await ask('GET', '/audit?limit=2')).body as AuditEntry[]
    expect(entries.map(({ target }) => target?.length)).toEqual([256, 256])
    expect(JSON.stringify(broker.events)).not.toContain(long)
  })

  it('of the log level hold until they are changed again', async () => {
    expect((await ask('PUT', '/log-level', { body: { level: 'warn' } })).body).toEqual({ level: 'warn' })
    expect((await ask('GET', '/log-level')).body).toEqual({ level: 'warn' })
    await ask('PUT', '/log-level', { body: { level: 'debug' } })
  })
})

describe('answers', () => {
  it('cannot be used by pages of other sites', async () => {
    const { headers } = await fetch(`${broker.adminUrl}/api/v1/openapi.json`, {
      headers: { origin: 'https://evil' },
    })
    expect(headers.get('access-control-allow-origin')).toBeNull()
    expect(headers.get('x-content-type-options')).toBe('nosniff')
    expect(headers.get('content-security-policy')).toBe("default-src 'none'; frame-ancestors 'none'")
    expect(headers.get('cache-control')).toBe('no-store')
  })

  it('to HEAD and OPTIONS are as HTTP has them', async () => {
    const head = await ask('HEAD', '/key')
    expect([head.status, head.body]).toEqual([200, undefined])
    const options = await ask('OPTIONS', '/bans')
    expect([options.status, options.headers.get('allow')]).toEqual([204, 'GET, HEAD, POST, OPTIONS'])
  })
})
