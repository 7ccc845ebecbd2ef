import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { temporaryFolder } from '../../support/broker-world.ts'
import { runProgram, startProgram, type Program } from '../../support/programs.ts'
import {
  type FaultBroker,
  openTunnelBroker,
  startAgent,
  startForward,
  type EndProcess,
} from '../../support/tunnel-processes.ts'

interface RedisWorld {
  readonly broker: FaultBroker
  readonly agent: EndProcess
  readonly forward: EndProcess
  /** A command of redis-cli through the tunnel. */
  readonly cli: (args: readonly string[], input?: string | Buffer) => Promise<string>
  readonly startCli: (...args: readonly string[]) => Program
}

/** redis-server on a unix socket, behind an agent and a forward. */
async function openRedis(): Promise<RedisWorld> {
  const folder = await temporaryFolder()
  const socket = join(folder, 'redis.sock')
  const settings = { port: '0', unixsocket: socket, dir: folder, save: '', appendonly: 'no' }
  const server = startProgram(
    'redis-server',
    Object.entries(settings).flatMap(([name, value]) => [`--${name}`, value]),
  )
  await server.said(/ready to accept connections/i)
  const broker = await openTunnelBroker()
  const agent = await startAgent(broker, { redis: `unix:${socket}` })
  const forward = await startForward(broker, ['redis'])
  const words = ['-h', '127.0.0.1', '-p', String(forward.ports[0])]
  return {
    broker,
    agent,
    forward,
    cli: (args, input = '') => runProgram('redis-cli', [...words, ...args], { input }),
    startCli: (...args) => startProgram('redis-cli', [...words, ...args]),
  }
}

describe('redis-cli, with its server on a unix socket', () => {
  it('sets and gets a large value', async () => {
    const { cli } = await openRedis()
    const value = randomBytes(6_000_000)
    expect(await cli(['-x', 'SET', 'large'], value)).toBe('OK\n')
    const got = await cli(['--raw', 'GET', 'large'])
    // It ends what it prints with a line break.
    expect(createHash('sha256').update(Buffer.from(got, 'latin1').subarray(0, -1)).digest('hex')).toBe(
      createHash('sha256').update(value).digest('hex'),
    )
  })

  it('pipes 100,000 commands', async () => {
    const { cli } = await openRedis()
    const commands = Array.from({ length: 100_000 }, (_, index) => {
      const word = String(index)
      return `*3\r\n$3\r\nSET\r\n$${word.length + 1}\r\nk${word}\r\n$${word.length}\r\n${word}\r\n`
    })
    expect(await cli(['--pipe'], commands.join(''))).toContain('errors: 0, replies: 100000')
    expect(await cli(['DBSIZE'])).toBe('100000\n')
    expect(await cli(['GET', 'k99999'])).toBe('99999\n')
  })

  it('hears what is published while its connection has been idle through a restart of the broker', async () => {
    const { cli, startCli, broker, agent, forward } = await openRedis()
    const subscriber = startCli('--csv', 'SUBSCRIBE', 'news')
    await subscriber.said(/"subscribe","news",1/)
    await broker.kill()
    await broker.start()
    // With a store in memory the broker expects nobody back: new streams to an agent that is not there yet are refused.
    await agent.logged('tunnel agent connected', {}, 1)
    for (const word of ['one', 'two']) expect(await cli(['PUBLISH', 'news', word])).toBe('1\n')
    await subscriber.said(/"message","news","one"\s+"message","news","two"/)
    const gone = once(subscriber.process, 'close')
    subscriber.process.kill('SIGINT')
    await gone
    await forward.logged('forward stream ended', { end: 'closed' }, 2)
    expect(await cli(['PUBSUB', 'NUMSUB', 'news'])).toBe('news\n0\n')
  })
})
