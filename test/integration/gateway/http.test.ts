import { afterAll, beforeAll, beforeEach, describe, expect, it, onTestFinished, vi } from 'vitest'
import { Agent } from 'node:http'
import { startTestBroker, type TestBroker } from '../../support/broker.ts'
import { portOf } from '../../support/broker-world.ts'
import { eventually } from '../../support/eventually.ts'
import { ask, askRaw, curl, parseAnswers, recordingHandler, type Recorded } from '../../support/http-world.ts'

let broker: TestBroker
let recorded: Recorded
let port: number
let base: string
const heard: string[] = []
const ann = { auth: 'ann:pw' }

beforeAll(async () => {
  recorded = recordingHandler()
  broker = await startTestBroker(
    {
      listeners: [
        { type: 'tcp', port: 0 },
        {
          type: 'http',
          name: 'http',
          port: 0,
          mountpoint: 'home/',
          proxyProtocol: 'off',
          http: {
            maxBodyBytes: 20_000,
            bodyTimeoutMs: 1_000,
            allowedOrigins: ['https://page.example'],
          },
        },
      ],
      limits: {
        maxTopicBytes: 200,
        maxClientIdBytes: 40,
        connectionsPerSecondPerAddress: 0,
        banFailures: 1_000,
      },
    },
    { handlers: [recorded.handler] },
  )
  port = portOf(broker, 'http')
  base = `http://127.0.0.1:${port}/mqtt`
  broker.subscribe('#', (topic, payload) => heard.push(`${topic}=${payload.toString()}`))
})
afterAll(() => broker.stop())
beforeEach(() => {
  recorded.calls.length = 0
  heard.length = 0
})

const methods = (): string[] => recorded.calls.map(({ method }) => method)

describe('a message by curl', () => {
  it('goes to subscribers by POST and PUT, below the mountpoint, and is answered when it is safe', async () => {
    expect(await curl('-u', 'ann:pw', '-d', 'on', `${base}/lamp/1`)).toMatchObject({ status: 204 })
    expect(heard).toEqual(['home/lamp/1=on'])
    expect(await curl('-u', 'ann:pw', '-X', 'PUT', '-d', 'off', `${base}/lamp/1?qos=2`)).toMatchObject({
      status: 204,
    })
    expect(heard).toEqual(['home/lamp/1=on', 'home/lamp/1=off'])
  })

  it('is seen by the handlers in their order, and disconnect comes once', async () => {
    await curl('-u', 'ann:pw', '-d', 'on', `${base}/lamp/1?clientid=curl-1`)
    await eventually(methods).toEqual(['authConnect', 'connect', 'authPublish', 'publish', 'disconnect'])
    const { session } = recorded.calls[0]!
    expect(new Set(recorded.calls.map((call) => call.session))).toEqual(new Set([session]))
    expect(session).toMatchObject({
      id: 'curl-1',
      username: 'ann',
      clean: true,
      peer: { address: '127.0.0.1', listener: 'http', transport: 'http' },
    })
    expect(recorded.calls.map(({ detail }) => detail)).toEqual([
      'ann pw',
      '',
      'lamp/1 1 false',
      'lamp/1',
      'client',
    ])
  })

  it('is retained, read, read by HEAD, and deleted', async () => {
    const kept = `${base}/kept/${encodeURIComponent('ü/%2F')}`
    const topic = 'home/kept/ü/%2F'
    expect(await curl('-u', 'ann:pw', '-d', '{"a":1}', `${kept}?retain=true`)).toMatchObject({ status: 204 })
    expect(heard).toEqual([`${topic}={"a":1}`])
    const read = await curl('-u', 'ann:pw', kept)
    expect(read).toMatchObject({ status: 200, headers: { 'content-type': 'application/octet-stream' } })
    expect(read.body.toString()).toBe('{"a":1}')
    expect(read.headers).toMatchObject({ 'cache-control': 'no-store', 'x-content-type-options': 'nosniff' })
    const json = await curl('-u', 'ann:pw', '-H', 'Accept: application/json', kept)
    expect(json.headers['content-type']).toBe('application/json')
    const head = await curl('-u', 'ann:pw', '-I', kept)
    expect(head).toMatchObject({ status: 200, headers: { 'content-length': '7' } })
    expect(await curl('-u', 'ann:pw', '-X', 'DELETE', kept)).toMatchObject({ status: 204 })
    expect(await curl('-u', 'ann:pw', kept)).toMatchObject({ status: 404 })
    const asked = recorded.calls.filter(({ method }) => method.startsWith('auth') && method !== 'authConnect')
    expect(asked.map(({ method, detail }) => `${method} ${detail}`)).toEqual([
      'authPublish kept/ü/%2F 1 true',
      ...Array.from({ length: 3 }, () => 'authSubscribe kept/ü/%2F 0'),
      'authPublish kept/ü/%2F 1 true',
      'authSubscribe kept/ü/%2F 0',
    ])
  })

  it('says what MQTT 5 says: content type, expiry, and where an answer is wanted', async () => {
    const url = `${base}/typed/1`
    const query = 'retain=true&expiry=60&response=answers%2F1&correlation=c-1'
    const json = ['-H', 'Content-Type: application/json']
    expect(await curl('-u', 'ann:pw', ...json, '-d', '{"a":1}', `${url}?${query}`)).toMatchObject({
      status: 204,
    })
    const read = await curl('-u', 'ann:pw', url)
    expect(read).toMatchObject({ status: 200, headers: { 'content-type': 'application/json' } })
    const shown = await broker.operations.retainedMessage('home/typed/1')
    expect(shown).toMatchObject({
      properties: { contentType: 'application/json', responseTopic: 'answers/1', userProperties: [] },
    })
    expect(Buffer.from(shown!.properties!.correlationData!, 'base64').toString()).toBe('c-1')
    expect(Date.parse(shown!.expiresAt!) - Date.now()).toBeLessThanOrEqual(60_000)
    // What curl says by itself is no content type that anybody has meant.
    await curl('-u', 'ann:pw', '-d', 'x', `${url}?retain=true`)
    expect(await broker.operations.retainedMessage('home/typed/1')).toMatchObject({ properties: null })
    for (const wrong of ['expiry=0', 'expiry=1h', 'expiry=4294967296', 'response=a%2F%2B', 'response=']) {
      expect(await curl('-u', 'ann:pw', '-d', 'x', `${url}?${wrong}`)).toMatchObject({ status: 400 })
    }
    await curl('-u', 'ann:pw', '-X', 'DELETE', url)
  })

  it('is published as a handler has rewritten it', async () => {
    await curl('-u', 'ann:pw', '-d', 'soup', `${base}/raw`)
    expect(heard).toEqual(['home/cooked=SOUP'])
  })
})

describe('credentials', () => {
  const passwords = (): string[] =>
    recorded.calls.filter(({ method }) => method === 'authConnect').map(({ detail }) => detail)

  it('are Basic, or a Bearer token as the password of an empty user name', async () => {
    await curl('-u', 'ann:p:w', '-d', '', `${base}/a`)
    await curl('-H', 'Authorization: Bearer ey.J0.x', '-d', '', `${base}/a`)
    expect(passwords()).toEqual(['ann p:w', ' ey.J0.x'])
  })

  it('that are missing or wrong are 401 with what is taken, and nothing that a handler said', async () => {
    const answers = [
      await curl('-d', 'x', `${base}/a`),
      await curl('-u', 'wrong:pw', '-d', 'x', `${base}/a`),
      await curl('-u', 'powerless:pw', '-d', 'x', `${base}/a`),
      await curl('-H', 'Authorization: Digest x', '-d', 'x', `${base}/a`),
      await curl('-H', 'Authorization: Basic !!', '-d', 'x', `${base}/a`),
      await curl('-H', 'Authorization: Basic YW5u', '-d', 'x', `${base}/a`),
    ]
    for (const { status, headers, body } of answers) {
      expect(status).toBe(401)
      expect(headers['www-authenticate']).toMatch(/^Basic realm=.*Bearer realm=/)
      expect(headers['content-type']).toBe('application/problem+json')
      expect(JSON.parse(body.toString())).toMatchObject({ status: 401, title: 'Unauthorized' })
      expect(body.toString()).not.toContain('detail for the log')
    }
    await eventually(methods).toEqual(Array.from({ length: 3 }, () => ['authConnect', 'disconnect']).flat())
  })

  it('are asked for by every method: nothing passes by them', async () => {
    for (const method of ['GET', 'HEAD', 'POST', 'PUT', 'DELETE']) {
      expect(await ask(`${base}/a`, { method })).toMatchObject({ status: 401 })
    }
    expect(await ask(`${base}/a`, { headers: { accept: 'text/event-stream' } })).toMatchObject({
      status: 401,
    })
    expect(heard).toEqual([])
  })

  it('are asked for twice on a connection, and not for ever', async () => {
    const agent = new Agent({ keepAlive: true, maxSockets: 1 })
    const answers = [await ask(`${base}/a`, { agent }), await ask(`${base}/a`, { agent })]
    expect(answers.map(({ headers }) => headers['connection'])).toEqual(['keep-alive', 'close'])
    expect(answers[0]!.port).toBe(answers[1]!.port)
    agent.destroy()
  })

  it('that are missing have ten lines a second in the log, and not one for each request', async () => {
    const nowMs = performance.now() + 2_000
    vi.spyOn(performance, 'now').mockReturnValue(nowMs)
    onTestFinished(() => void vi.restoreAllMocks())
    const lines = (): number =>
      broker.events.filter(({ level, msg }) => level === 'info' && msg === 'connection refused').length
    const before = lines()
    await Promise.all(Array.from({ length: 15 }, () => ask(`${base}/a`)))
    expect(lines() - before).toBe(10)
    // Who guesses has a line for each.
    await ask(`${base}/a`, { auth: 'wrong:pw' })
    expect(lines() - before).toBe(11)
  })

  it('in the URL are refused, and not looked at', async () => {
    expect(await curl('-d', 'x', `${base}/a?authorization=token`)).toMatchObject({ status: 400 })
    expect(methods()).toEqual([])
    expect(JSON.stringify(broker.events)).not.toContain('token')
  })

  it('that stay the same keep one session for all requests of a connection, others get their own', async () => {
    const agent = new Agent({ keepAlive: true, maxSockets: 1 })
    const ports = new Set<number>()
    for (const auth of ['ann:pw', 'ann:pw', 'bob:pw', 'bob:other', 'bob:other']) {
      const { port: from, status } = await ask(`${base}/a`, { agent, method: 'POST', auth, body: 'x' })
      expect(status).toBe(204)
      ports.add(from)
    }
    expect(ports.size).toBe(1)
    agent.destroy()
    const publishes = ['authPublish', 'publish']
    await eventually(methods).toEqual([
      ...['authConnect', 'connect', ...publishes, ...publishes, 'disconnect'],
      ...['authConnect', 'connect', ...publishes, 'disconnect'],
      ...['authConnect', 'connect', ...publishes, ...publishes, 'disconnect'],
    ])
  })

  it('that were taken away in between are asked for again', async () => {
    const agent = new Agent({ keepAlive: true, maxSockets: 1 })
    const send = () => ask(`${base}/a?clientid=kicked`, { ...ann, agent, method: 'POST' })
    expect(await send()).toMatchObject({ status: 204 })
    await broker.disconnect('kicked', 'home/')
    await eventually(() => methods().at(-1)).toBe('disconnect')
    expect(await send()).toMatchObject({ status: 204 })
    agent.destroy()
    expect(methods().filter((method) => method === 'authConnect')).toHaveLength(2)
  })
})

const STATUS_HEADERS: Readonly<Record<number, object>> = {
  405: { allow: 'GET, HEAD, POST, PUT, DELETE, OPTIONS' },
  503: { 'retry-after': '5' },
}

describe('a request that is refused', () => {
  it.each([
    ['POST', 'secret/x', 403],
    ['PUT', 'secret/x?qos=0', 403],
    ['PUT', 'secret/x?qos=2', 403],
    ['DELETE', 'secret/x', 403],
    ['GET', 'secret/x', 403],
    ['HEAD', 'secret/x', 403],
    ['POST', 'backend', 503],
    ['GET', 'backend', 503],
    ['POST', '$SYS/broker/x', 403],
    ['POST', '$tunnel/pi/ssh/up/x', 403],
    ['GET', '$share/g/a', 403],
    ['POST', 'a/%2B', 400],
    ['POST', 'a/%23', 400],
    ['GET', 'a/+', 400],
    ['POST', 'a%00b', 400],
    ['POST', 'a%2', 400],
    ['POST', 'a%ff', 400],
    ['POST', 'a?qos=3', 400],
    ['POST', 'a?qos=1&qos=1', 400],
    ['POST', 'a?retain=perhaps', 400],
    ['POST', 'a?colour=red', 400],
    ['POST', `a?clientid=${'x'.repeat(41)}`, 400],
    ['POST', 'a'.repeat(201), 414],
    ['GET', '', 404],
    ['POST', '', 404],
    ['PATCH', 'a', 405],
    ['TRACE', 'a', 405],
  ])('%s %s is answered by %i', async (method, topic, status) => {
    const answer = await ask(`${base}/${topic}`, { ...ann, method })
    expect(answer).toMatchObject({ status, headers: { 'content-type': 'application/problem+json' } })
    // HEAD has no body, and the length of the one that GET would have.
    const problem = answer.body.length === 0 ? { status } : (JSON.parse(answer.body.toString()) as object)
    expect(problem).toMatchObject({ status })
    expect(answer.headers).toMatchObject(STATUS_HEADERS[status] ?? {})
    expect(answer.body.toString()).not.toContain('a secret topic')
    expect(heard).toEqual([])
  })

  it('for want of a backend is 503 with Retry-After, for a client id 400', async () => {
    const away = await ask(`${base}/a`, { method: 'POST', auth: 'backend:pw' })
    expect(away).toMatchObject({ status: 503, headers: { 'retry-after': '5' } })
    expect(await ask(`${base}/a`, { method: 'POST', auth: 'named:pw' })).toMatchObject({ status: 400 })
  })

  it('outside the path is 404, whatever follows', async () => {
    for (const path of ['/', '/mqttx/a', '/MQTT/a', '/other']) {
      const url = new URL(path, base).href
      expect(await ask(url, { ...ann, method: 'POST' })).toMatchObject({ status: 404 })
    }
    expect(methods()).toEqual([])
  })

  it('gives no retained message that authDeliver withholds', async () => {
    await ask(`${base}/deep/hidden?retain=1`, { ...ann, method: 'PUT', body: 'x' })
    expect(await ask(`${base}/deep/hidden`, ann)).toMatchObject({ status: 404 })
  })
})

describe('a topic', () => {
  it('is what stands behind the path, decoded once: no query, no prefix, no token, no tidying', async () => {
    const targets = {
      '/mqtt/a%2520b?qos=1': 'a%20b',
      '/mqtt//a//': '/a//',
      '/mqtt/a/../b/./c': 'a/../b/./c',
      '/mqtt/mqtt/a': 'mqtt/a',
      [`http://127.0.0.1:${port}/mqtt/absolute`]: 'absolute',
      '/mqtt/a%3Fqos=0': 'a?qos=0',
    }
    for (const [target, topic] of Object.entries(targets)) {
      const answer = await ask(base, { ...ann, method: 'POST', path: target, body: '' })
      expect([target, answer.status, heard.pop()]).toEqual([target, 204, `home/${topic}=`])
    }
  })
})

describe('a body', () => {
  it('that is too large is 413, by its announced length as by its bytes, and nothing is published', async () => {
    const large = Buffer.alloc(20_001)
    const chunked = { 'transfer-encoding': 'chunked' }
    const ask413 = [{}, chunked].map((headers) =>
      ask(`${base}/a`, { ...ann, method: 'POST', headers, body: large }),
    )
    for (const answer of await Promise.all(ask413)) expect(answer.status).toBe(413)
    expect(await ask(`${base}/a`, { ...ann, method: 'POST', body: Buffer.alloc(20_000) })).toMatchObject({
      status: 204,
    })
    expect(heard).toHaveLength(1)
  })

  it('is asked for with 100 Continue from those who are let in, and from nobody else', async () => {
    const expecting = ['-H', 'Expect: 100-continue', '--data-binary', 'x'.repeat(9_000)]
    expect(await curl('-v', '-u', 'ann:pw', ...expecting, `${base}/a`)).toMatchObject({ status: 204 })
    const head = 'POST /mqtt/a HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5\r\n'
    const answer = await askRaw(port, `${head}\r\n`)
    expect(answer.toString()).toMatch(/^HTTP\/1.1 401 /)
  })

  it('that does not come in time is 408', async () => {
    const credentials = `Authorization: Basic ${Buffer.from('ann:pw').toString('base64')}\r\n`
    const head = `POST /mqtt/a HTTP/1.1\r\nHost: x\r\n${credentials}Content-Length: 5\r\n\r\nab`
    const [answer] = parseAnswers(await askRaw(port, head))
    expect(answer).toMatchObject({ status: 408, headers: { connection: 'close' } })
    expect(heard).toEqual([])
  })

  it('that is compressed is 415', async () => {
    const headers = { 'content-encoding': 'gzip' }
    expect(await ask(`${base}/a`, { ...ann, method: 'POST', headers, body: 'x' })).toMatchObject({
      status: 415,
    })
  })
})

describe('a request that two readers would read in two ways', () => {
  const credentials = `Authorization: Basic ${Buffer.from('ann:pw').toString('base64')}`
  it.each([
    ['two lengths', ['Content-Length: 1', 'Content-Length: 2'], 400],
    ['a length and chunks', ['Content-Length: 3', 'Transfer-Encoding: chunked'], 400],
    ['a line feed alone', ['X: a\nY: b'], 400],
    ['a space before a colon', ['Content-Length : 1'], 400],
    ['a folded header', ['X: a', ' b'], 400],
    ['no Host', undefined, 400],
    ['two Authorization headers', [credentials], 400],
    ['headers without end', [`X: ${'x'.repeat(20_000)}`], 431],
    ['CONNECT', undefined, 405],
  ])('%s is refused', async (what, more, status) => {
    const line = what === 'CONNECT' ? 'CONNECT a:1 HTTP/1.1' : 'POST /mqtt/a HTTP/1.1'
    const host = what === 'no Host' ? [] : ['Host: x']
    const bytes = [line, ...host, credentials, ...(more ?? []), 'Connection: close', '', ''].join('\r\n')
    const answers = parseAnswers(await askRaw(port, bytes))
    expect(answers.map((answer) => answer.status)).toEqual([status])
    expect(heard).toEqual([])
  })

  it('many at once ahead of their answers are answered in their order', async () => {
    const one = (topic: string, close = '') =>
      `POST /mqtt/${topic} HTTP/1.1\r\nHost: x\r\n${credentials}\r\nContent-Length: 1\r\n${close}\r\nx`
    const answers = await askRaw(port, one('a') + one('secret') + one('b', 'Connection: close\r\n'))
    expect(parseAnswers(answers).map(({ status }) => status)).toEqual([204, 403, 204])
    expect(heard).toEqual(['home/a=x', 'home/b=x'])
  })

  it('is never given the answer to another: CONNECT behind one that is worked on ends the connection', async () => {
    const first = `POST /mqtt/a HTTP/1.1\r\nHost: x\r\n${credentials}\r\nContent-Length: 1\r\n\r\nx`
    const bytes = await askRaw(port, `${first}CONNECT b:80 HTTP/1.1\r\nHost: b\r\n\r\n`)
    expect(bytes.toString()).not.toContain('405')
  })
})

describe('pages of other origins', () => {
  const preflight = (origin: string) =>
    ask(`${base}/a`, { method: 'OPTIONS', headers: { origin, 'access-control-request-method': 'PUT' } })

  it('may what the list says, after a preflight that needs no credentials', async () => {
    const { status, headers } = await preflight('https://page.example')
    expect(status).toBe(204)
    expect(headers).toMatchObject({
      'access-control-allow-origin': 'https://page.example',
      'access-control-allow-credentials': 'true',
      'access-control-allow-methods': 'GET, HEAD, POST, PUT, DELETE, OPTIONS',
      'access-control-allow-headers': 'Authorization, Content-Type',
      vary: 'Origin',
    })
    const listed = { origin: 'https://page.example' }
    const answer = await ask(`${base}/a`, { ...ann, method: 'PUT', headers: listed, body: 'x' })
    expect(answer).toMatchObject({ status: 204, headers: { 'access-control-allow-origin': listed.origin } })
  })

  it('that are not in it have no effect, whatever the browser adds', async () => {
    const { status, headers } = await preflight('https://evil.example')
    expect(status).toBe(204)
    expect(Object.keys(headers).filter((name) => name.startsWith('access-control'))).toEqual([])
    for (const origin of ['https://evil.example', 'null', 'https://page.example.evil']) {
      const answer = await ask(`${base}/a`, { ...ann, method: 'POST', headers: { origin }, body: 'x' })
      expect(answer.status).toBe(403)
    }
    // An image of such a page, which names no origin.
    for (const site of ['cross-site', 'same-site']) {
      const image = { 'sec-fetch-site': site, 'sec-fetch-mode': 'no-cors' }
      expect(await ask(`${base}/a?clientid=pi7`, { ...ann, headers: image })).toMatchObject({ status: 403 })
    }
    expect(heard).toEqual([])
    expect(methods()).not.toContain('authConnect')
  })

  it('of its own host are as good as no page', async () => {
    const headers = { origin: `http://127.0.0.1:${port}` }
    expect(await ask(`${base}/a`, { ...ann, method: 'POST', headers })).toMatchObject({ status: 204 })
  })
})
