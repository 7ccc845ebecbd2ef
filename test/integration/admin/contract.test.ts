import { once } from 'node:events'
import { createServer, type AddressInfo } from 'node:net'
import { z } from 'zod'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import mqtt from 'mqtt'
import { endpoints } from '../../../src/admin/api/api.ts'
import type { Scope } from '../../../src/admin/api/scopes.ts'
import { createAgent, createTunnelClient } from '../../../src/tunnel/index.ts'
import {
  askApi,
  createApiKeys,
  type ApiAnswer,
  type ApiKeys,
  type ApiRequest,
  type AskApi,
} from '../../support/api.ts'
import { startTestBroker, type TestBroker } from '../../support/broker.ts'
import { samplesOf, type Schema } from '../../support/schema-samples.ts'

interface Parameter {
  readonly name: string
  readonly in: 'path' | 'query' | 'header'
  readonly schema: Schema
  readonly required?: boolean
}
interface Content {
  readonly [type: string]: { readonly schema: Schema }
}
interface Operation {
  readonly operationId: string
  readonly security: readonly { readonly key?: readonly Scope[] }[]
  readonly parameters?: readonly Parameter[]
  readonly requestBody?: { readonly required: boolean; readonly content: Content }
  readonly responses: Readonly<Record<string, { readonly content?: Content }>>
}
interface Document {
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>
  readonly components: { readonly schemas: Readonly<Record<string, Schema>> }
}

let broker: TestBroker
let keys: ApiKeys
let ask: AskApi
let document: Document
const ends: (() => Promise<unknown>)[] = []

beforeAll(async () => {
  keys = await createApiKeys()
  broker = await startTestBroker({
    admin: { port: 0, keysFile: keys.file, requestsPerSecond: 100_000, failuresPerMinute: 100_000 },
  })
  ask = askApi(broker.adminUrl, keys.of.admin)
  document = (await ask('GET', '/openapi.json', { key: undefined })).body as Document
  await makeWorld()
})
afterAll(async () => {
  for (const end of ends.reverse()) await end()
  await broker.stop()
  await keys.remove()
})

/** Something of each kind: a client with a will, a session with a queue, retained messages, an agent with a stream. */
async function makeWorld(): Promise<void> {
  const sensor = await mqtt.connectAsync(broker.url, {
    clientId: 'sensor/1',
    protocolVersion: 5,
    clean: false,
    reconnectPeriod: 0,
    properties: {
      sessionExpiryInterval: 0xffff_ffff,
      maximumPacketSize: 100_000,
      userProperties: { a: ['b', 'c'] },
    },
    will: {
      topic: 'gone',
      payload: Buffer.from('x'),
      qos: 1,
      retain: false,
      properties: { willDelayInterval: 60, contentType: 'text/plain' },
    },
  })
  await sensor.subscribeAsync('$share/all/commands/#', { qos: 1, properties: { subscriptionIdentifier: 7 } })
  const away = await mqtt.connectAsync(broker.url, { clientId: 'away', clean: false, reconnectPeriod: 0 })
  await away.subscribeAsync('news', { qos: 1 })
  await away.endAsync()
  const properties = {
    payloadFormatIndicator: false,
    messageExpiryInterval: 3_600,
    contentType: 'text/plain',
    responseTopic: 'answers',
    correlationData: Buffer.from([0, 255]),
    userProperties: { a: ['b', 'c'] },
  }
  await sensor.publishAsync('news', 'waits', { qos: 1, properties })
  await sensor.publishAsync('state/1', Buffer.from([0, 255]), { qos: 1, retain: true, properties })
  await ask('PUT', '/roles/reader', { body: { rules: [{ actions: ['subscribe'], on: '#' }] } })
  await ask('PUT', '/groups/readers', { body: { roles: ['reader'] } })
  await ask('POST', '/identities', { body: { name: 'someone', groups: ['readers'] } })
  const echo = createServer((socket) => socket.on('error', () => undefined).pipe(socket)).listen(
    0,
    '127.0.0.1',
  )
  await once(echo, 'listening')
  const target = `127.0.0.1:${(echo.address() as AddressInfo).port}`
  const agent = createAgent({ url: broker.url, id: 'pi7', services: { echo: { target } } })
  const client = createTunnelClient({ url: broker.url })
  ends.push(
    async () => echo.close(),
    () => sensor.endAsync(true),
    () => agent.close(),
    () => client.close(),
  )
  const stream = await client.openStream('pi7/echo')
  stream.on('error', () => undefined)
}

function resolved(schema: Schema): Schema {
  const name = schema.$ref?.split('/').at(-1)
  return name === undefined ? schema : (document.components.schemas[name] ?? schema)
}

/** Checks by the document alone, not by the schemas that it was made from. */
function expectAsDescribed(operation: Operation, answer: ApiAnswer): void {
  const described = operation.responses[answer.status]
  expect(described, `status ${answer.status} of ${operation.operationId}`).toBeDefined()
  const [type, content] = Object.entries(described?.content ?? {})[0] ?? []
  if (content === undefined) return expect(answer.body).toBeUndefined()
  expect(answer.headers.get('content-type')).toContain(type)
  const text = JSON.stringify({ ...content.schema, $defs: document.components.schemas })
  const schema = JSON.parse(text.replaceAll('#/components/schemas/', '#/$defs/')) as Parameters<
    typeof z.fromJSONSchema
  >[0]
  const result = z.fromJSONSchema(schema).safeParse(answer.body)
  expect(result.success ? '' : `${operation.operationId}: ${z.prettifyError(result.error)}`).toBe('')
}

/** What there is in the world above, in the places where a schema can only say "a string". */
async function realValues(operation: Operation): Promise<Record<string, string>> {
  const traces = async () =>
    (await ask('POST', '/traces', { body: { client: 'sensor/1' } })).body as { id: string }
  const streams = async () => (await ask('GET', '/streams')).body as { id: string }[]
  switch (operation.operationId) {
    case 'deleteStreamsOne':
      return { id: (await streams())[0]!.id }
    case 'getTracesOne':
    case 'deleteTracesOne':
      return { id: (await traces()).id }
    case 'getClientsQueue':
      return { id: 'away' }
    case 'deleteBansOne':
      await ask('POST', '/bans', { body: { address: '192.0.2.7' } })
      return { address: '192.0.2.7' }
    case 'getRetainedMessage':
    case 'deleteRetainedMessage':
      return { topic: 'state/1' }
    case 'getRolesOne':
      return { name: 'reader' }
    case 'getGroupsOne':
      return { name: 'readers' }
    case 'putRolesOne':
    case 'putGroupsOne':
      return { name: 'new' }
    case 'deleteRolesOne':
    case 'deleteGroupsOne': {
      const kind = operation.operationId === 'deleteRolesOne' ? 'roles' : 'groups'
      await ask('PUT', `/${kind}/old`, { body: kind === 'roles' ? { rules: [] } : {} })
      return { name: 'old' }
    }
    case 'deleteIdentitiesOne':
    case 'deleteIdentitiesPassword':
    case 'deleteIdentitiesKeysOne': {
      const name = operation.operationId
      await ask('POST', '/identities', { body: { name, password: 'long enough' } })
      const { body } = await ask('POST', `/identities/${name}/keys`)
      return { name, id: (body as { id: string }).id }
    }
    default:
      return { id: 'sensor/1', name: 'someone' }
  }
}

interface Described {
  readonly method: string
  readonly path: string
  readonly operation: Operation
}

/** In the order in which they can be tried: what removes things comes late, and what sends everybody away last. */
function operations(): Described[] {
  const order = ['get', 'put', 'patch', 'post', 'delete']
  const all = Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({
      method,
      path: path.replace('/api/v1', ''),
      operation,
    })),
  )
  const placeOf = ({ method, path }: Described): number =>
    order.indexOf(method) + (path === '/drain' ? 10 : 0)
  return all.toSorted((a, b) => placeOf(a) - placeOf(b))
}

function urlOf(
  path: string,
  parameters: readonly Parameter[],
  values: Readonly<Record<string, Text>>,
): string {
  const query = new URLSearchParams()
  let filled = path
  for (const { name, in: place } of parameters) {
    const value = values[name]
    if (value === undefined) continue
    if (place === 'path') filled = filled.replace(`{${name}}`, encodeURIComponent(String(value)))
    else query.set(name, String(value))
  }
  return query.size === 0 ? filled : `${filled}?${query.toString()}`
}

/** Of the sort that a URL can carry, where everything is text. */
type Text = string | number

/** What a URL can say wrongly: to a parameter that is a string, every number is one. */
function isWrongText(value: unknown, { in: place, schema }: Parameter): value is Text {
  if (typeof value === 'number') return schema.type !== 'string'
  return typeof value === 'string' && !(place === 'path' && value === '')
}

/** The schema of that body cannot say all. */
function isMeant(operation: Operation, body: unknown): boolean {
  return operation.operationId !== 'postTraces' || Object.keys(body as object).includes('client')
}

describe('the API, compared with its own description', () => {
  it('describes every endpoint that there is, and serves nothing else', async () => {
    const described = operations().map(({ method, path }) => `${method} ${path}`)
    const served = endpoints.map(({ method, path }) => `${method} ${path}`)
    expect(described.toSorted()).toEqual([...served, 'get /openapi.json'].toSorted())
    for (const [path, methods] of Object.entries(document.paths)) {
      const known = Object.keys(methods).map((method) => method.toUpperCase())
      const url = path.replace('/api/v1', '').replaceAll(/\{\w+\}/g, '192.0.2.1')
      for (const method of ['GET', 'POST', 'PUT', 'DELETE', 'PATCH'].filter((one) => !known.includes(one))) {
        const { status, headers } = await ask(method, url)
        expect([method, path, status]).toEqual([method, path, 405])
        expect(headers.get('allow')?.split(', ')).toEqual(expect.arrayContaining(known))
      }
    }
    expect((await ask('GET', '/nothing')).status).toBe(404)
    expect(operations().length).toBeGreaterThan(25)
  })

  it('shows what is there', async () => {
    expect((await ask('GET', '/agents')).body).toMatchObject([{ name: 'pi7', isOnline: true, streams: 1 }])
    expect((await ask('GET', '/streams')).body).toMatchObject([{ agent: 'pi7', service: 'echo' }])
    expect((await ask('GET', '/clients/away/queue')).body).toMatchObject({
      items: [{ topic: 'news' }],
      next: null,
    })
    expect((await ask('GET', '/retained?filter=state/%23')).body).toMatchObject({
      items: [{ topic: 'state/1', payload: 'AP8=', properties: { correlationData: 'AP8=' } }],
    })
    expect((await ask('GET', '/clients/sensor%2F1')).body).toMatchObject({
      protocolVersion: '5',
      mqtt5: {
        sessionExpirySeconds: expect.any(Number) as number,
        userProperties: [{ name: 'a', value: 'b' }, {}],
      },
      will: { delaySeconds: 60, properties: { contentType: 'text/plain' } },
      subscriptionList: [{ shareGroup: 'all', subscriptionIdentifier: 7 }],
    })
    const { body } = await ask('GET', '/key', { key: keys.of.read })
    expect(body).toMatchObject({ name: 'read', scopes: ['read'], isLocal: false, expiresAt: null })
  })

  it('answers each operation as described: without a key, with the wrong scope, with good and with bad input', async () => {
    // Without an id: the description itself.
    for (const described of operations().filter(({ operation }) => operation.operationId !== undefined))
      await tryOperation(described)
  })
})

async function tryOperation({ method, path, operation }: Described): Promise<void> {
  const { requestBody, operationId, security } = operation
  // Headers are tried where they mean something: identities.test.ts.
  const parameters = (operation.parameters ?? []).filter((parameter) => parameter.in !== 'header')
  const real = await realValues(operation)
  const bodySchema = requestBody && resolved(requestBody.content['application/json']!.schema)
  const bodies = bodySchema && samplesOf({ ...bodySchema, properties: resolvedProperties(bodySchema) })
  const body = bodies?.valid.find((one) => isMeant(operation, one))
  const expectStatus = async (
    status: number,
    values: Readonly<Record<string, Text>>,
    request: ApiRequest,
  ) => {
    const answer = await ask(method.toUpperCase(), urlOf(path, parameters, values), { body, ...request })
    expect([operationId, values, request.body, answer.status]).toEqual([
      operationId,
      values,
      request.body,
      status,
    ])
    expectAsDescribed(operation, answer)
  }

  await expectStatus(401, real, { key: undefined })
  const scope = security[0]?.key?.[0]
  if (scope !== undefined)
    await expectStatus(403, real, { key: scope === 'read' ? keys.of.trace : keys.of.read })

  for (const parameter of parameters) {
    const { name, in: place, schema } = parameter
    const { valid, invalid } = samplesOf(schema)
    for (const value of invalid)
      if (isWrongText(value, parameter)) await expectStatus(400, { ...real, [name]: value }, {})
    // What changes something is done once, below; and nobody waits for a packet that does not come.
    if (place === 'path' || method !== 'get' || schema.type === 'string') continue
    for (const value of valid as readonly Text[])
      if (name !== 'waitMs' || value === 0) await expectStatus(200, { ...real, [name]: value }, {})
  }
  for (const bad of bodies?.invalid ?? []) await expectStatus(400, real, { body: bad })
  // Also where no body is taken.
  if (method !== 'get') {
    await expectStatus(415, real, { body: 'x', headers: { 'content-type': 'text/plain' } })
    await expectStatus(413, real, { body: 'x'.repeat(65_536) })
  }

  await expectStatus(goodStatus(operation), real, {})
  if (method === 'delete' && operation.responses['404'] !== undefined) await expectStatus(404, real, {})
}

function resolvedProperties(schema: Schema): Record<string, Schema> {
  return Object.fromEntries(Object.entries(schema.properties ?? {}).map(([name, one]) => [name, wholly(one)]))
}

/** With what it refers to in its place. */
function wholly(schema: Schema): Schema {
  const whole = resolved(schema)
  return {
    ...whole,
    ...(whole.items && { items: wholly(whole.items) }),
    ...(whole.properties && { properties: resolvedProperties(whole) }),
  }
}

function goodStatus(operation: Operation): number {
  return Number(Object.keys(operation.responses).find((status) => status.startsWith('2')))
}
