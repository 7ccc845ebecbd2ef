import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { access, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { connect as connectSocket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { MqttClient } from 'mqtt'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { compileRights, isDenied, mayPublish, maySubscribe, parseAcl } from '../../../src/hooks/acl.ts'
import { PATIENCE } from '../../support/eventually.ts'

/** The same file in a real mosquitto: who gets what through to whom. */
const aclText = `
# general
topic read public/#
topic public/wall

user watcher
topic readwrite #
topic readwrite $CONTROLLED/#

user alice
topic read a/+
topic write a/b/#
topic deny a/b/secret
topic   readwrite   with space/x
topic $CONTROLLED/x

pattern readwrite dev/%c/#
pattern write user/%u
pattern deny dev/%c/hidden
`
const topics = [
  'a',
  'a/b',
  'a/c',
  'a/b/c',
  'a/b/secret',
  'with space/x',
  'public/x',
  'public/wall',
  'dev/c1/x',
  'dev/c1',
  'dev/c2/x',
  'dev/c1/hidden',
  'user/alice',
  'user/bob',
  '$CONTROLLED/x',
  '$CONTROLLED/y',
]
// Without ids that hold a `/`: mosquitto 2 puts them into patterns, we do not (docs/handlers.md).
const clients = [
  { clientId: 'c1', username: 'alice' },
  { clientId: 'c2', username: 'bob' },
  { clientId: 'c1', username: undefined },
  { clientId: '#', username: 'alice' },
  { clientId: '+', username: undefined },
  { clientId: 'c1', username: '+' },
]

let folder: string
let socketPath: string
let mosquitto: ChildProcess
let watcher: MqttClient

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'tunnelmq-'))
  socketPath = join(folder, 'mosquitto.sock')
  await writeFile(join(folder, 'acl'), aclText, { mode: 0o644 })
  await writeFile(
    join(folder, 'mosquitto.conf'),
    `listener 0 ${socketPath}\nallow_anonymous true\nacl_file ${join(folder, 'acl')}\nuser root\npersistence false\n`,
  )
  mosquitto = spawn('mosquitto', ['-c', join(folder, 'mosquitto.conf')], { stdio: 'ignore' })
  await once(mosquitto, 'spawn')
  await vi.waitFor(() => access(socketPath), PATIENCE)
  watcher = await connect('watcher', 'watcher')
})
afterAll(async () => {
  watcher.end(true)
  const gone = once(mosquitto, 'exit')
  mosquitto.kill()
  await gone
  await rm(folder, { recursive: true })
})

async function connect(clientId: string, username: string | undefined): Promise<MqttClient> {
  const client = new MqttClient(() => connectSocket(socketPath), {
    clientId,
    reconnectPeriod: 0,
    ...(username === undefined ? {} : { username }),
  })
  await new Promise<void>((resolve, reject) => {
    client.once('connect', () => resolve()).once('error', reject)
  })
  return client
}

/** Collects topics until the mark comes, which is sent after everything else. */
async function collect(client: MqttClient, send: () => Promise<unknown>, mark: string): Promise<string[]> {
  const got = new Set<string>()
  const onMessage = (topic: string) => void got.add(topic)
  client.on('message', onMessage)
  await send()
  await vi.waitFor(() => expect(got).toContain(mark), PATIENCE)
  client.off('message', onMessage)
  got.delete(mark)
  return [...got].sort()
}

describe('an ACL file means the same as in mosquitto', () => {
  it.each(clients)('for the client $clientId of user $username', async (who) => {
    const acl = parseAcl(aclText, { file: 'acl', dialect: 'mosquitto' })
    const rights = compileRights(acl, { ...who, mountpoint: '' })
    const client = await connect(who.clientId, who.username)

    await watcher.subscribeAsync(['#', '$CONTROLLED/#'], { qos: 1 })
    const published = await collect(
      watcher,
      async () => {
        for (const topic of topics) await client.publishAsync(topic, 'x', { qos: 1 })
        await watcher.publishAsync('mark', 'x', { qos: 1 })
      },
      'mark',
    )
    expect(published).toEqual(topics.filter((topic) => mayPublish(rights, topic)).sort())
    await watcher.unsubscribeAsync(['#', '$CONTROLLED/#'])

    // mosquitto grants every subscription and filters at delivery: what comes is what may be read.
    const got = new Set<string>()
    client.on('message', (topic) => got.add(topic))
    await client.subscribeAsync(['#', '$CONTROLLED/#'], { qos: 1 })
    for (const topic of topics) await watcher.publishAsync(topic, 'x', { qos: 1 })
    // Its answer comes behind everything that was delivered: a connection keeps its order.
    await client.unsubscribeAsync(['#', '$CONTROLLED/#'])
    await client.endAsync()
    const readable = topics.filter((topic) => maySubscribe(rights, topic) && !isDenied(rights, topic))
    expect([...got].sort()).toEqual(readable.sort())
  })
})
