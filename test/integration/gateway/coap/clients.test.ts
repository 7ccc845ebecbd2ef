import { randomBytes } from 'node:crypto'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Agent, request, type IncomingMessage } from 'coap'
import { afterAll, beforeAll, expect, it, onTestFinished } from 'vitest'
import { eventually } from '../../../support/eventually.ts'
import { startProgram, type Program } from '../../../support/programs.ts'
import { startCoapWorld, startOwnCoapWorld, type CoapWorld } from './world.ts'

let world: CoapWorld
let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'tunnelmq-coap-'))
  world = await startCoapWorld()
})
afterAll(async () => {
  await world.broker.stop()
  await rm(folder, { recursive: true })
})

/** libcoap's, of Debian's libcoap3-bin. */
function coapClient(topic: string, ...args: readonly string[]): Program {
  return coapClientOf(world.port, topic, ['-B', '30', ...args])
}

function coapClientOf(port: number, topic: string, args: readonly string[]): Program {
  const query = 'username=alice&password=secret'
  const url = `coap://127.0.0.1:${port}/mqtt/${topic}${topic.includes('?') ? '&' : '?'}${query}`
  return startProgram('coap-client-gnutls', [...args, url])
}

it('serves libcoap: publish, read and delete', async () => {
  expect((await coapClient('a/b?retain=1', '-m', 'put', '-e', '21.5').ended).code).toBe(0)
  expect((await coapClient('a/b', '-m', 'get').ended).stdout.trim()).toBe('21.5')
  await coapClient('a/b', '-m', 'delete').ended
  const { stderr, stdout } = await coapClient('a/b', '-m', 'get').ended
  expect(stderr + stdout).toContain('4.04 nothing is retained here')
  // 65001: the password as an option.
  const url = `coap://127.0.0.1:${world.port}/mqtt/no/x`
  const refused = await startProgram('coap-client-gnutls', ['-m', 'put', '-O', '65001,k-1', '-e', 'x', url])
    .ended
  expect(refused.stderr + refused.stdout).toContain('4.03 not allowed to publish')
})

it('serves libcoap: 20 KB up and down in blocks, published once', async () => {
  const seen: Buffer[] = []
  const stop = world.broker.subscribe('big', (_topic, payload) => void seen.push(payload))
  const file = join(folder, 'up')
  const back = join(folder, 'down')
  const body = randomBytes(20_000)
  await writeFile(file, body)
  await coapClient('big?retain=1', '-m', 'put', '-b', '512', '-f', file).ended
  await eventually(() => seen.length).toBe(1)
  expect(seen[0]!.equals(body)).toBe(true)
  await coapClient('big', '-m', 'get', '-o', back).ended
  expect((await readFile(back)).equals(body)).toBe(true)
  stop()
})

it('serves libcoap, which repeats with Echo what it has asked, where that is configured', async () => {
  const own = await startOwnCoapWorld({ addressCheck: 'echo' })
  const body = 'x'.repeat(2_000)
  await own.broker.publish({ topic: 'big', payload: Buffer.from(body), qos: 0, retain: true })
  expect((await coapClientOf(own.port, 'big', ['-B', '30', '-m', 'get']).ended).stdout.trim()).toBe(body)
})

it('serves libcoap: observes, and is told of the end', async () => {
  const observer = coapClient('o/+', '-s', '3', '-w')
  await eventually(() => world.rules.calls).toContain('subscribe alice@coap o/+')
  await world.broker.publish({ topic: 'o/1', payload: Buffer.from('seen'), qos: 0, retain: false })
  await observer.said(/seen/)
  await observer.ended
  await eventually(() => world.rules.calls).toContain('unsubscribe alice@coap o/+')
})

it('serves the client of the library coap: blocks both ways', async () => {
  const agent = new Agent({ type: 'udp4' })
  onTestFinished(() => void agent.close())
  const pathname = '/mqtt/lib'
  const body = randomBytes(5_000)
  const ask = (method: 'PUT' | 'GET', payload?: Buffer): Promise<IncomingMessage> => {
    const query = 'auth=k-1&retain=1'
    const asked = request({ agent, hostname: '127.0.0.1', port: world.port, method, pathname, query })
    // In blocks of 1,024 bytes.
    if (payload !== undefined) asked.setOption('Block1', Buffer.of(0x06))
    return new Promise((resolve, reject) => {
      asked.on('response', resolve)
      asked.on('error', reject)
      asked.end(payload)
    })
  }
  expect((await ask('PUT', body)).code).toBe('2.04')
  expect((await ask('GET')).payload.equals(body)).toBe(true)
})
