import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { createAclFileHandler } from '../../../src/hooks/acl-file.ts'
import { createChain } from '../../../src/hooks/chain.ts'
import type { ManagedHandler } from '../../../src/hooks/types.ts'
import { replaceFile } from '../../support/replace-file.ts'
import { fakeLog, fakeMessage, fakeSession, fakeSubscriptions } from './fakes.ts'

let folder: string
let file: string
const opened: ManagedHandler[] = []
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'tunnelmq-'))
  file = join(folder, 'acl.txt')
})
afterEach(async () => {
  for (const handler of opened.splice(0)) await handler.close?.()
  await rm(folder, { recursive: true })
})

async function open(content: string, mountpoint = '') {
  await writeFile(file, content)
  const handler = await createAclFileHandler({ file, dialect: 'mosquitto', mountpoint, log: fakeLog() })
  opened.push(handler)
  const chain = createChain([handler])
  return {
    handler,
    publishes: (session: ReturnType<typeof fakeSession>, topic: string) =>
      chain.authPublish(session, fakeMessage(topic)),
    delivers: (session: ReturnType<typeof fakeSession>, topic: string) =>
      chain.authDeliver(session, fakeMessage(topic), vi.fn()),
  }
}

describe('the acl-file handler', () => {
  it('answers at once, and has no say in who may connect', async () => {
    const { handler, publishes } = await open('topic write a/#')
    expect(handler).not.toHaveProperty('authConnect')
    const session = fakeSession()
    expect(publishes(session, 'a/b')).toEqual({ allowed: true, handler: 'acl-file' })
    expect(publishes(session, 'a/b')).toBe(publishes(session, 'a/b'))
    expect(publishes(session, 'b')).toMatchObject({ allowed: false, refuse: 'not-authorized' })
    expect(publishes(session, 'b')).toMatchObject({ allowed: false })
  })

  it('gives right answers for more topics than it remembers', async () => {
    const { publishes } = await open('topic write a/#\ntopic deny a/13')
    const session = fakeSession()
    for (const round of [1, 2]) {
      for (let n = 0; n < 1_000; n++) {
        expect(publishes(session, `a/${n}`), `round ${round}`).toMatchObject({ allowed: n !== 13 })
        expect(publishes(session, `b/${n}`)).toMatchObject({ allowed: false })
      }
    }
  })

  it('refuses each filter by itself', async () => {
    const { handler } = await open('topic read a/#\ntopic deny a/secret')
    const subscriptions = fakeSubscriptions('a/b', 'b', 'a/#', 'a/secret')
    void handler.authSubscribe?.(fakeSession(), subscriptions)
    expect(subscriptions.map((subscription) => Boolean(subscription.refused))).toEqual([
      false,
      true,
      false,
      true,
    ])
  })

  it('stops what is denied at each delivery, and has no opinion on the rest', async () => {
    const { handler, delivers } = await open('topic read a/#\ntopic deny a/+/secret')
    const session = fakeSession()
    for (const round of [1, 2]) {
      expect(delivers(session, 'a/b/secret'), `round ${round}`).toBe(false)
      expect(delivers(session, 'a/b/c')).toBe(true)
    }
    expect(handler.authDeliver?.(session, fakeMessage('a/b/c'))).toBeUndefined()
  })

  it('keeps the rights of clients apart, and follows a client that was renamed', async () => {
    const { publishes } = await open('pattern write %m/%c/%u', 'site/')
    const one = fakeSession({ id: 'one', username: 'u' })
    const two = fakeSession({ id: 'two', username: 'u' })
    expect(publishes(one, 'site/one/u')).toMatchObject({ allowed: true })
    expect(publishes(two, 'site/one/u')).toMatchObject({ allowed: false })
    two.id = 'three'
    expect(publishes(two, 'site/three/u')).toMatchObject({ allowed: true })
    expect(publishes(two, 'site/two/u')).toMatchObject({ allowed: false })
  })

  it('applies a changed file to live sessions at once, and keeps the old one when it is not usable', async () => {
    const { handler, publishes, delivers } = await open('topic a')
    const session = fakeSession()
    const changed = vi.fn()
    handler.onChange?.(changed)
    expect(publishes(session, 'a')).toMatchObject({ allowed: true })
    await replaceFile(file, 'topic b\ntopic deny a')
    await handler.reload?.()
    expect(publishes(session, 'a')).toMatchObject({ allowed: false })
    expect(publishes(session, 'b')).toMatchObject({ allowed: true })
    expect(delivers(session, 'a')).toBe(false)
    await replaceFile(file, 'topic b\nbroken')
    await expect(handler.reload?.()).rejects.toThrow(`${file}:2: unknown keyword "broken"`)
    expect(publishes(session, 'b')).toMatchObject({ allowed: true })
    await handler.reload?.().catch(() => undefined)
    expect(changed).toHaveBeenCalledTimes(1)
  })

  it('does not start without its file', async () => {
    const missing = { file: join(folder, 'missing'), dialect: 'mosquitto', mountpoint: '' } as const
    await expect(createAclFileHandler({ ...missing, log: fakeLog() })).rejects.toThrow(missing.file)
  })
})
