import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { onTestFinished, expect, it } from 'vitest'
import type { Explanation, TracePage } from '../../../src/admin/api/resources.ts'
import { startPod } from '../../support/broker-pods.ts'
import { connectMqtt, messages, temporaryFolder } from '../../support/broker-world.ts'
import type { TestBroker } from '../../support/broker.ts'
import { startRedis } from '../../support/redis-server.ts'

/** Asks the API of a pod with its local key. */
async function askApi(
  pod: TestBroker,
  key: string,
  method: string,
  path: string,
  body?: object,
): Promise<unknown> {
  const response = await fetch(`${pod.adminUrl}/api/v1${path}`, {
    method,
    headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' },
    ...(body !== undefined && { body: JSON.stringify(body) }),
  })
  expect(`${response.status} ${response.statusText}`).toMatch(/^20/)
  return response.status === 204 ? undefined : await response.json()
}

it('explains and traces a client of another pod, and follows it when it moves', async () => {
  const redis = await startRedis()
  onTestFinished(() => redis.remove())
  const folder = await temporaryFolder()
  const acl = join(folder, 'acl')
  await writeFile(acl, 'topic readwrite a/#\n')
  const start = (name: string): Promise<TestBroker> =>
    startPod(redis, {
      listeners: [{ type: 'tcp', port: 0, name: `tcp-${name}`, allowAnonymous: true }],
      handlers: [{ type: 'acl-file', file: acl, dialect: 'mosquitto' }],
      admin: { port: 0, localKey: true, localKeyFile: join(folder, `${name}.key`) },
    })
  const a = await start('a')
  const b = await start('b')
  const key = (await readFile(join(folder, 'a.key'), 'utf8')).split('\n')[0]!
  const api = (method: string, path: string, body?: object): Promise<unknown> =>
    askApi(a, key, method, path, body)

  // Both pods have to know each other first.
  await expect.poll(async () => (await api('GET', '/pods')) as unknown[]).toHaveLength(2)
  const { id } = (await api('POST', '/traces', { client: 'roamer' })) as { id: string }
  const atB = await connectMqtt(b.url, { clientId: 'roamer' })

  const why = (await api('POST', '/why', { client: 'roamer', action: 'publish', topic: 'b' })) as Explanation
  expect(why).toMatchObject({
    allowed: false,
    client: { state: 'connected', listener: 'tcp-b', address: '127.0.0.1', addressFrom: 'socket' },
  })
  expect(why.steps.find(({ by }) => by === 'acl-file')).toMatchObject({ opinion: 'refused', rule: acl })
  const allowed = (await api('POST', '/why', {
    client: 'roamer',
    action: 'publish',
    topic: 'a/1',
  })) as Explanation
  expect(allowed.steps.find(({ by }) => by === 'acl-file')?.rule).toBe(`${acl}:1: topic readwrite a/#`)

  await atB.subscribeAsync('a/#', { qos: 2 })
  const received = messages(atB, 1)
  await atB.publishAsync('a/1', 'x', { qos: 2 })
  expect(await received).toEqual(['a/1=x'])
  await connectMqtt(a.url, { clientId: 'roamer' })

  const seen: string[] = []
  const pods = new Set<string>()
  let after = ''
  await expect
    .poll(async () => {
      const page = (await api('GET', `/traces/${id}?after=${after}`)) as TracePage
      after = page.next
      for (const { direction, type, pod } of page.packets) {
        pods.add(pod)
        seen.push(`${direction} ${type}`)
      }
      return seen.filter((text) => text === 'out CONNACK')
    })
    .toHaveLength(2)
  expect(seen.slice(0, 4)).toEqual(['in CONNECT', 'out CONNACK', 'in SUBSCRIBE', 'out SUBACK'])
  expect(seen).toContain('out CLOSED')
  expect(pods.size).toBe(2)
  await api('DELETE', `/traces/${id}`)
})
