import { createHash, randomBytes } from 'node:crypto'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { createCa } from '../listeners/certificates.ts'
import { eventOf, openBroker, portOf, temporaryFolder } from '../../support/broker-world.ts'
import { runClient, startClient, type RunningClient } from '../../support/run-client.ts'

const at = (port: number): string[] => ['-h', '127.0.0.1', '-p', String(port)]

/** mosquitto_sub, which keeps its lines back when they go into a pipe. */
function startSub(port: number, ...args: string[]): RunningClient {
  return startClient('stdbuf', ['-oL', 'mosquitto_sub', ...at(port), ...args])
}

/** The same, once it is subscribed. */
async function subscribe(port: number, ...args: string[]): Promise<RunningClient> {
  const client = startSub(port, '-d', ...args)
  await client.output(/Subscribed \(mid: \d+\)/)
  return client
}

/** What came, without the lines of -d. */
async function received(client: RunningClient): Promise<string[]> {
  const { stdout } = await client.ended
  return stdout.split('\n').filter((line) => line !== '' && !/^(Client |Subscribed )/.test(line))
}

const publish = (port: number, ...args: string[]) => runClient('mosquitto_pub', [...at(port), ...args])

describe.each(['mqttv31', 'mqttv311'])('mosquitto_pub and mosquitto_sub with -V %s', (version) => {
  it.each(['0', '1', '2'])('exchange messages at QoS %s', async (qos) => {
    const broker = await openBroker()
    const client = await subscribe(
      broker.port,
      '-V',
      version,
      '-t',
      'a/#',
      '-q',
      qos,
      '-C',
      '3',
      '-F',
      '%t %q %p',
    )
    for (const word of ['one', 'two', 'three']) {
      const { code } = await publish(broker.port, '-V', version, '-t', 'a/b', '-q', qos, '-m', word)
      expect(code).toBe(0)
    }
    expect(await received(client)).toEqual([`a/b ${qos} one`, `a/b ${qos} two`, `a/b ${qos} three`])
  })

  it('send many lines over one connection, in order', async () => {
    const broker = await openBroker()
    const words = Array.from({ length: 500 }, (_, i) => `line ${i}`)
    const client = await subscribe(broker.port, '-V', version, '-t', 'a', '-q', '2', '-C', '500')
    await runClient(
      'mosquitto_pub',
      [...at(broker.port), '-V', version, '-t', 'a', '-q', '2', '-l'],
      words.join('\n'),
    )
    expect(await received(client)).toEqual(words)
  })

  it('keep a retained message, and clear it', async () => {
    const broker = await openBroker()
    await publish(broker.port, '-V', version, '-t', 'r', '-r', '-q', '1', '-m', 'kept')
    const client = await subscribe(broker.port, '-V', version, '-t', 'r', '-C', '1', '-F', '%r %p')
    expect(await received(client)).toEqual(['1 kept'])
    await publish(broker.port, '-V', version, '-t', 'r', '-r', '-q', '1', '-n')
    const after = await subscribe(broker.port, '-V', version, '-t', 'r', '-C', '1')
    await publish(broker.port, '-V', version, '-t', 'r', '-m', 'live')
    expect(await received(after)).toEqual(['live'])
  })

  it('keep a session while its client is away (-c -i)', async () => {
    const broker = await openBroker()
    const session = ['-V', version, '-c', '-i', 'sleeper', '-t', 'q/#', '-q', '1']
    const first = await subscribe(broker.port, ...session)
    first.kill('SIGTERM')
    await first.ended
    for (const word of ['one', 'two', 'three'])
      await publish(broker.port, '-V', version, '-t', 'q/1', '-q', '1', '-m', word)
    const again = startSub(broker.port, ...session, '-C', '3')
    expect(await received(again)).toEqual(['one', 'two', 'three'])
  })

  it('have their will published when they are killed, and not when they leave', async () => {
    const broker = await openBroker()
    const watcher = await subscribe(broker.port, '-V', version, '-t', 'will/#', '-q', '1', '-C', '1', '-v')
    const will = (name: string): string[] => [
      '--will-topic',
      `will/${name}`,
      '--will-payload',
      'gone',
      '--will-qos',
      '1',
    ]
    const polite = await subscribe(broker.port, '-V', version, '-t', 'x', ...will('polite'))
    polite.kill('SIGINT')
    await polite.ended
    const killed = await subscribe(broker.port, '-V', version, '-t', 'x', ...will('killed'))
    killed.kill('SIGKILL')
    expect(await received(watcher)).toEqual(['will/killed gone'])
  })
})

describe('mosquitto_pub', () => {
  it('that speaks MQTT 5 is refused where that is not served, and the log says why', async () => {
    const broker = await openBroker({
      listeners: [{ type: 'tcp', port: 0, allowAnonymous: true, protocolVersions: ['3.1', '3.1.1'] }],
    })
    const { code, stderr } = await publish(broker.port, '-V', 'mqttv5', '-t', 'a', '-m', 'x')
    expect(code).not.toBe(0)
    expect(stderr).toMatch(/protocol/i)
    expect(await eventOf(broker, 'connection refused')).toMatchObject({
      address: '127.0.0.1',
      reason: 'protocol-version',
      detail: 'MQTT 5 is not served on this listener',
    })
  })

  it('sends a large file, byte for byte', async () => {
    const broker = await openBroker({ limits: { maxPacketBytes: 20_000_000 } })
    const folder = await temporaryFolder()
    const [sent, got] = [join(folder, 'sent'), join(folder, 'got')]
    const bytes = randomBytes(10_000_000)
    await writeFile(sent, bytes)
    const arrived = new Promise<Buffer>((resolve) =>
      broker.subscribe('file', (_, payload) => resolve(payload)),
    )
    await runClient('mosquitto_pub', [...at(broker.port), '-t', 'file', '-q', '1', '-r', '-f', sent])
    const digest = (data: Buffer): string => createHash('sha256').update(data).digest('hex')
    expect(digest(await arrived)).toBe(digest(bytes))
    const script = `mosquitto_sub ${at(broker.port).join(' ')} -t file -C 1 -N > "${got}"`
    expect((await runClient('sh', ['-c', script])).code).toBe(0)
    expect(digest(await readFile(got))).toBe(digest(bytes))
  })

  it('tells of a wrong password, and of a right that is missing', async () => {
    const broker = await openBroker(
      {},
      {
        authConnect(session) {
          if (session.password?.toString() !== 'right') throw new Error('wrong')
        },
      },
    )
    expect((await publish(broker.port, '-t', 'a', '-m', 'x', '-u', 'ann', '-P', 'right')).code).toBe(0)
    expect((await publish(broker.port, '-t', 'a', '-m', 'x', '-u', 'ann', '-P', 'wrong')).stderr).toMatch(
      /unavailable/,
    )
  })

  it('comes over TLS with a certificate of its own', async () => {
    const folder = await temporaryFolder()
    const ca = await createCa(folder)
    const server = await ca.issue('server')
    const device = await ca.issue('device')
    const names: unknown[] = []
    const broker = await openBroker(
      { listeners: [{ type: 'tls', name: 'tls', port: 0, tls: { ...server, clientCa: ca.cert } }] },
      { authConnect: (session) => void names.push(session.peer.certificate?.commonName) },
    )
    const to = [
      '-h',
      'localhost',
      '-p',
      String(portOf(broker, 'tls')),
      '--cafile',
      ca.cert,
      '-t',
      'a',
      '-m',
      'x',
    ]
    const own = ['--cert', device.cert, '--key', device.key]
    expect((await runClient('mosquitto_pub', [...to, ...own])).code).toBe(0)
    expect((await runClient('mosquitto_pub', to)).code).not.toBe(0)
    expect(names).toEqual(['device'])
  })
})

describe('mosquitto_sub', () => {
  it('reads $SYS as it does from mosquitto', async () => {
    const broker = await openBroker({ sysIntervalMs: 50 })
    const topics = [
      'version',
      'uptime',
      'clients/connected',
      'messages/received',
      'bytes/sent',
      'load/messages/received/1min',
    ]
    for (const topic of topics) {
      const client = await subscribe(broker.port, '-t', `$SYS/broker/${topic}`, '-C', '1', '-v')
      expect(await received(client)).toEqual([
        expect.stringMatching(new RegExp(`^\\$SYS/broker/${topic} .+`)),
      ])
    }
    const connected = await subscribe(broker.port, '-t', '$SYS/broker/clients/connected', '-v')
    await connected.output(/clients\/connected 1/)
    await subscribe(broker.port, '-t', 'x')
    await connected.output(/clients\/connected 2/)
  })

  it('shares a subscription with others', async () => {
    const broker = await openBroker()
    const members = await Promise.all(
      [1, 2].map(() => subscribe(broker.port, '-t', '$share/g/jobs/#', '-q', '1', '-C', '5')),
    )
    for (let i = 0; i < 10; i++) await broker.publish({ topic: 'jobs/x', payload: String(i), qos: 1 })
    const shares = await Promise.all(members.map(received))
    expect(shares.map((share) => share.length)).toEqual([5, 5])
    expect(shares.flat().sort()).toEqual(Array.from({ length: 10 }, (_, i) => String(i)))
  })

  it('is told which filter it may not have, and gets the other', async () => {
    const broker = await openBroker(
      {},
      {
        authConnect() {},
        authSubscribe(_, subscriptions) {
          for (const subscription of subscriptions)
            if (subscription.topic === 'no') subscription.refused = true
        },
      },
    )
    const client = await subscribe(broker.port, '-t', 'no', '-t', 'yes', '-C', '1')
    await client.output(/Subscribed \(mid: 1\): 128, 0/)
    await broker.publish({ topic: 'no', payload: 'no' })
    await broker.publish({ topic: 'yes', payload: 'yes' })
    expect((await received(client)).filter((line) => !line.includes('denied'))).toEqual(['yes'])
  })
})
