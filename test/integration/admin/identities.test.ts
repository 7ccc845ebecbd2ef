import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { askApi, createApiKeys, type ApiKeys, type AskApi } from '../../support/api.ts'
import { startTestBroker, type TestBroker } from '../../support/broker.ts'

let broker: TestBroker
let keys: ApiKeys
let ask: AskApi

beforeAll(async () => {
  keys = await createApiKeys()
  broker = await startTestBroker({ admin: { port: 0, keysFile: keys.file } })
  ask = askApi(broker.adminUrl, keys.of.identities)
})
afterAll(async () => {
  await broker.stop()
  await keys.remove()
})

describe('identities over the API', () => {
  it('are changed only at the revision that if-match names', async () => {
    const made = await ask('POST', '/identities', { body: { name: 'a/b' } })
    expect(made.status).toBe(201)
    const { headers } = await ask('GET', '/identities/a%2Fb', { key: keys.of.read })
    const etag = headers.get('etag')!
    const change = (match: string) =>
      ask('PATCH', '/identities/a%2Fb', { body: { description: 'x' }, headers: { 'if-match': match } })
    expect((await change('W/"1"')).status).toBe(400)
    const changed = await change(etag)
    expect(changed).toMatchObject({ status: 200, body: { description: 'x' } })
    expect(await change(etag)).toMatchObject({ status: 412, body: { code: 'TMQ_CHANGED' } })
    expect(changed.headers.get('etag')).not.toBe(etag)
    const stale = await ask('DELETE', '/identities/a%2Fb', { headers: { 'if-match': etag } })
    expect(stale.status).toBe(412)
  })

  it('never show a hash, and say what is in the way', async () => {
    const body = { name: 'pi7', clientId: 'pi7', password: 'correct horse' }
    await ask('POST', '/identities', { body })
    const { body: key } = await ask('POST', '/identities/pi7/keys')
    expect(key).toMatchObject({ secret: expect.stringMatching(/^tmqi_[0-9a-f]{16}_[\w-]{43}$/) as string })
    for (const path of ['/identities', '/identities/pi7', '/identities/pi7/keys']) {
      const text = JSON.stringify((await ask('GET', path, { key: keys.of.admin })).body)
      expect(text).toContain((key as { id: string }).id)
      expect(text).not.toMatch(/scrypt|hash|tmqi_/)
    }
    expect(await ask('POST', '/identities', { body })).toMatchObject({
      status: 409,
      body: { code: 'TMQ_EXISTS', detail: expect.stringContaining('"pi7"') as string },
    })
    expect(
      await ask('PUT', '/roles/r', { body: { rules: [{ actions: ['open'], on: 'pi7' }] } }),
    ).toMatchObject({
      status: 400,
      body: { detail: expect.stringContaining('rules.0: on:') as string },
    })
    expect((await ask('POST', '/identities', { body: { name: 'a:b' } })).status).toBe(400)
  })

  it('stand in the audit log, without their secrets', async () => {
    await ask('PUT', '/identities/pi7/password', { body: { password: 'another horse' } })
    await ask('POST', '/identities/pi7/disable')
    const { body } = await ask('GET', '/audit?limit=2', { key: keys.of.admin })
    expect(body).toMatchObject([
      { action: 'disable identity', target: 'pi7', outcome: 'done', key: 'identities' },
      { action: 'set password', target: 'pi7', outcome: 'done' },
    ])
    expect(JSON.stringify(broker.events)).not.toContain('horse')
  })
})
