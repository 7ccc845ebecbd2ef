import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { appendFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { describe, expect, it } from 'vitest'
import {
  connectRaw,
  eventOf,
  openBroker,
  openRaw,
  refusalCode,
  temporaryFolder,
} from '../../support/broker-world.ts'
import { replaceFile } from '../../support/replace-file.ts'

const run = promisify(execFile)

/** A line as vmq-passwd writes it: `$6$`, salt, and SHA-512 of password and salt. */
function vmqLine(name: string, password: string): string {
  const salt = Buffer.from('0123456789ab')
  const hash = createHash('sha512').update(password).update(salt).digest('base64')
  return `${name}:$6$${salt.toString('base64')}$${hash}\n`
}

/** A broker with a password file and an ACL file, which the test may write anew. */
async function openWithFiles(
  acl: string,
  dialect: 'mosquitto' | 'vernemq' = 'mosquitto',
  store: object = {},
) {
  const folder = await temporaryFolder()
  const files = { passwords: join(folder, 'passwords'), acl: join(folder, 'acl') }
  await writeFile(files.acl, acl)
  await run('mosquitto_passwd', ['-c', '-b', files.passwords, 'ann', 'pw-ann'])
  await run('mosquitto_passwd', ['-b', '-H', 'sha512', files.passwords, 'bob', 'pw-bob'])
  await appendFile(files.passwords, vmqLine('vera', 'pw-vera'))
  const broker = await openBroker({
    store: { type: 'memory', ...store },
    listeners: [
      {
        type: 'tcp',
        port: 0,
        handlers: [
          { type: 'password-file', file: files.passwords },
          { type: 'acl-file', file: files.acl, dialect },
        ],
      },
    ],
  })
  const as = (username: string, fields = {}) =>
    connectRaw(broker.port, { clientId: username, username, password: `pw-${username}`, ...fields })
  return { broker, files, as }
}

const acl = `
user ann
topic readwrite a/#
topic read news/+
topic deny a/hidden/#

user bob
topic write news/today
pattern readwrite dev/%c/#
`

describe('a password file and an access list', () => {
  it('let in who has the right password, whoever made the file', async () => {
    const { broker, as } = await openWithFiles(acl)
    for (const name of ['ann', 'bob', 'vera']) await as(name)
    const wrong = [
      { clientId: 'ann', username: 'ann', password: 'pw-bob' },
      { clientId: 'ann', username: 'ann', password: '' },
      { clientId: 'ann', username: 'ann' },
      { clientId: 'eve', username: 'eve', password: 'pw-ann' },
    ]
    for (const fields of wrong) expect(await refusalCode(broker.port, fields)).toBe(4)
    expect(await refusalCode(broker.port, { clientId: 'ann' })).toBe(5)
  })

  it('say who may publish and subscribe to what', async () => {
    const { broker, as } = await openWithFiles(acl)
    const ann = await as('ann')
    const bob = await as('bob')
    expect(await ann.subscribe(['a/#', 1], ['news/+', 1], ['news/#', 1], ['#', 1], ['dev/ann/x', 1])).toEqual(
      [
        ...[1, 1, 0x80, 0x80],
        1, // a pattern is for all
      ],
    )
    expect(await bob.subscribe(['news/today', 1], ['dev/bob/#', 1])).toEqual([0x80, 1])
    await bob.publish({ topic: 'news/tomorrow', qos: 1 })
    await bob.publish({ topic: 'a/1', qos: 1 })
    await broker.publish({ topic: 'a/hidden/x', payload: 'denied', qos: 1 })
    await bob.publish({ topic: 'news/today', qos: 1 })
    expect((await ann.takeUntil('news/today')).map(({ topic }) => topic)).toEqual(['news/today'])
  })

  it('of VerneMQ: rules in front are for all', async () => {
    const { as } = await openWithFiles('topic read public/#\n\nuser bob\ntopic write public/x\n', 'vernemq')
    const ann = await as('ann')
    expect(await ann.subscribe(['public/#', 0])).toEqual([0])
    const bob = await as('bob')
    await bob.publish({ topic: 'public/x', payload: 'hello', qos: 1 })
    expect(await ann.next('publish')).toMatchObject({ topic: 'public/x' })
  })
})

describe('rights that change while clients are connected', () => {
  it.each(['by themselves', 'on reload'])(
    'take subscriptions away and close whoever is gone, %s',
    async (when) => {
      const { broker, files, as } = await openWithFiles(acl)
      const ann = await as('ann')
      await ann.subscribe(['a/#', 1], ['news/+', 1])
      const bob = await as('bob')
      await run('mosquitto_passwd', ['-D', files.passwords, 'bob'])
      await replaceFile(files.acl, acl.replace('topic readwrite a/#', 'topic readwrite b/#'))
      if (when === 'on reload') await broker.reload()
      await bob.untilClosed()
      expect(await eventOf(broker, 'client disconnected', { client: 'bob' })).toMatchObject({
        reason: 'revoked',
      })
      expect(await eventOf(broker, 'subscriptions revoked')).toMatchObject({
        client: 'ann',
        filters: ['a/#'],
      })
      await broker.publish({ topic: 'a/1', payload: 'no', qos: 1 })
      await broker.publish({ topic: 'news/1', payload: 'yes', qos: 1 })
      expect((await ann.takeUntil('news/1')).map(({ topic }) => topic)).toEqual(['news/1'])
      expect(await refusalCode(broker.port, { clientId: 'bob', username: 'bob', password: 'pw-bob' })).toBe(4)
    },
  )

  it('close a client whose password was changed, and no other', async () => {
    const { broker, files, as } = await openWithFiles(acl)
    const ann = await as('ann')
    const bob = await as('bob')
    await run('mosquitto_passwd', ['-b', files.passwords, 'ann', 'new'])
    await broker.reload()
    await ann.untilClosed()
    await bob.ping()
    await as('ann', { password: 'new' })
  })

  it('stay as they are when the new file is no good; reload says where it is wrong', async () => {
    const { broker, files, as } = await openWithFiles(acl)
    const ann = await as('ann')
    await replaceFile(files.acl, 'user ann\ntopic nonsense\nwhat is this\n')
    await expect(broker.reload()).rejects.toThrow(`${files.acl}:3`)
    expect(await ann.subscribe(['a/#', 1])).toEqual([1])
  })

  it.each(['memory', 'embedded'])(
    'hold for sessions that were away: nothing of it is delivered (%s)',
    async (type) => {
      const path = await temporaryFolder()
      const { broker, files, as } = await openWithFiles(acl, 'mosquitto', { type, path })
      const first = await as('ann', { clean: false })
      await first.subscribe(['a/#', 1], ['news/+', 1])
      await first.disconnect()
      await broker.publish({ topic: 'a/1', payload: 'queued', qos: 1 })
      await broker.publish({ topic: 'news/1', payload: 'queued', qos: 1 })
      await replaceFile(files.acl, acl.replace('topic readwrite a/#', ''))
      await broker.reload()
      const again = await openRaw(broker.port)
      const fields = { clientId: 'ann', username: 'ann', password: 'pw-ann', clean: false }
      expect(await again.connect(fields)).toMatchObject({ code: 0, sessionPresent: true })
      await broker.publish({ topic: 'a/2', payload: 'live', qos: 1 })
      await broker.publish({ topic: 'news/2', payload: 'live', qos: 1 })
      const topics = (await again.takeUntil('news/2')).map(({ topic }) => topic)
      expect(topics).toEqual(['news/1', 'news/2'])
    },
  )
})

describe('a handler of its own', () => {
  it('can revoke a connection and subscriptions when its rights change', async () => {
    const folder = await temporaryFolder()
    const file = join(folder, 'handler.mjs')
    // The rights are in a file that the handler reads on reload.
    await writeFile(
      file,
      `import { readFileSync } from 'node:fs'
       const read = () => JSON.parse(readFileSync(${JSON.stringify(join(folder, 'rights.json'))}, 'utf8'))
       export default () => {
         let rights = read()
         const listeners = []
         return {
           name: 'own',
           authConnect(session) {},
           authSubscribe(session, subscriptions) {
             for (const s of subscriptions) if (!rights.filters.includes(s.topic)) s.refused = 'not listed'
           },
           stillAllowed: async (session) => rights.clients.includes(session.id),
           async reload() { rights = read(); for (const listener of listeners) listener() },
           onChange(listener) { listeners.push(listener) },
         }
       }`,
    )
    const allow = (clients: string[], filters: string[]) =>
      writeFile(join(folder, 'rights.json'), JSON.stringify({ clients, filters }))
    await allow(['c1', 'c2'], ['a', 'b'])
    const broker = await openBroker({
      listeners: [{ type: 'tcp', port: 0, handlers: [{ type: 'module', file }] }],
    })
    const first = await connectRaw(broker.port, { clientId: 'c1' })
    const second = await connectRaw(broker.port, { clientId: 'c2' })
    expect(await first.subscribe(['a', 1], ['b', 1], ['c', 1])).toEqual([1, 1, 0x80])
    await allow(['c1'], ['b'])
    await broker.reload()
    await second.untilClosed()
    await broker.publish({ topic: 'a', payload: 'x', qos: 1 })
    await broker.publish({ topic: 'b', payload: 'x', qos: 1 })
    expect((await first.takeUntil('b')).map(({ topic }) => topic)).toEqual(['b'])
  })
})
