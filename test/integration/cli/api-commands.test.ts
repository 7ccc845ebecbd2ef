import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Command } from 'commander'
import { connectAsync, type IClientOptions, type MqttClient } from 'mqtt'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { agentsCommand } from '../../../src/cli/agents.ts'
import { banCommand } from '../../../src/cli/api/bans.ts'
import { clientsCommand } from '../../../src/cli/api/clients.ts'
import { drainCommand, logLevelCommand, runningConfigCommand } from '../../../src/cli/api/control.ts'
import { auditCommand, refusalsCommand } from '../../../src/cli/api/records.ts'
import { retainedCommand } from '../../../src/cli/api/retained.ts'
import { listenersCommand, podsCommand, statusCommand } from '../../../src/cli/api/status.ts'
import { traceCommand } from '../../../src/cli/api/trace.ts'
import { streamsCommand } from '../../../src/cli/api/tunnels.ts'
import { whyCommand } from '../../../src/cli/api/why.ts'
import type { Environment } from '../../../src/config/overrides.ts'
import { hashPassword } from '../../../src/hooks/password-hash.ts'
import { createAgent, createTunnelClient } from '../../../src/tunnel/connect.ts'
import { startTestBroker, type TestBroker } from '../../support/broker.ts'
import { freePort } from '../../support/mosquitto.ts'
import { runCli } from '../../support/run-cli.ts'
import { runCommand, type CommandResult } from '../../support/run-command.ts'

const HOSTILE = 'evil\u001b[31m\u202e\r\nfake-row'

let folder = ''
let broker: TestBroker
/** As on the machine of the broker: nothing but its configuration. */
let here: Environment
const clients: MqttClient[] = []

async function client(clientId: string, options: IClientOptions = {}): Promise<MqttClient> {
  const one = await connectAsync(broker.url, { clientId, reconnectPeriod: 0, ...options })
  clients.push(one)
  return one
}

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'tmq-api-'))
  const file = join(folder, 'broker.yaml')
  const admin = { port: 0, localKeyFile: join(folder, 'admin.key') }
  await writeFile(file, JSON.stringify({ admin }))
  here = { TUNNELMQ_CONFIG: file }
  const [passwords, acl] = [join(folder, 'passwords'), join(folder, 'acl')]
  await writeFile(passwords, `pump:${await hashPassword(Buffer.from('of pump'))}\n`)
  const everything = 'topic readwrite #\ntopic readwrite $tunnel/#\n'
  await writeFile(acl, `${everything}user pump\n${everything}topic deny secret/#\n`)
  const handlers = [
    { type: 'password-file', file: passwords },
    { type: 'acl-file', file: acl },
  ] as const
  broker = await startTestBroker({ admin: { ...admin, localKey: true }, handlers: [...handlers] })
  const sleeper = await client('sleeper', { clean: false })
  await sleeper.subscribeAsync('jobs/#', { qos: 1 })
  await sleeper.endAsync()
  const pump = await client('pump-7', {
    username: 'pump',
    password: 'of pump',
    will: { topic: 'w', payload: Buffer.from('gone'), qos: 0, retain: false },
  })
  await pump.subscribeAsync(['a/#', 'b/+'], { qos: 1 })
  await pump.publishAsync('jobs/1', 'first', { qos: 1 })
  await pump.publishAsync('jobs/2', Buffer.from([0, 27, 255]), { qos: 1 })
  await pump.publishAsync('state/x', Buffer.from([0, 27, 255, 10]), { qos: 1, retain: true })
  await client(HOSTILE)
})
afterAll(async () => {
  await Promise.all(clients.map((one) => one.endAsync(true)))
  await broker.stop()
  await rm(folder, { recursive: true })
})

type Made = (env: Environment) => Command

/** Runs it; what it rejects with fails the test. */
async function run(made: Made, ...words: string[]): Promise<CommandResult & { readonly text: string }> {
  const result = await runCommand(made(here), words)
  if (result.error !== undefined) throw result.error
  return { ...result, text: result.stdout.toString() }
}

async function lines<Item>(made: Made, ...words: string[]): Promise<Item[]> {
  const { text } = await run(made, ...words, '--json')
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Item)
}

async function failure(made: Made, ...words: string[]): Promise<string> {
  const { error } = await runCommand(made(here), words)
  return String(error)
}

describe('on the machine of the broker', () => {
  it('status needs no option: the local key tells where the broker is', async () => {
    const { text } = await run(statusCommand)
    expect(text).toMatch(/^ready +yes$/m)
    expect(text).toMatch(/^sessions +2 connected, 1 stored$/m)
    const [overview] = await lines<{ connections: number }>(statusCommand)
    expect(overview).toMatchObject({ connections: 2, retainedMessages: 1, queuedMessages: 2 })
  })

  it('clients is a table in which a hostile id is one harmless row', async () => {
    const { text } = await run(clientsCommand)
    const rows = text.trimEnd().split('\n')
    expect(rows).toHaveLength(4)
    expect(rows[1]).toContain('evil\\x1b[31m\\u{202e}\\x0d\\x0afake-row')
    // oxlint-disable-next-line no-control-regex -- that is what is looked for
    expect(text).not.toMatch(/[\u0000-\u0009\u000b-\u001f\u202e]/)
    expect(rows[2]).toMatch(/^pump-7 +connected +pump +127\.0\.0\.1 /)
    expect(rows[3]).toMatch(/^sleeper +offline /)
  })

  it('clients --json has a line for each, with the ids as they are', async () => {
    expect((await lines<{ id: string }>(clientsCommand)).map(({ id }) => id)).toEqual([
      HOSTILE,
      'pump-7',
      'sleeper',
    ])
  })

  it('clients takes what is looked for, and says when there is more', async () => {
    expect(await lines(clientsCommand, '--state', 'offline')).toMatchObject([{ id: 'sleeper' }])
    expect(await lines(clientsCommand, '--search', 'pump')).toMatchObject([{ id: 'pump-7' }])
    const { stderr, text } = await run(clientsCommand, '--limit', '2')
    expect(text.split('\n')).toHaveLength(4)
    expect(stderr).toContain('there are more: --limit')
    expect(await failure(clientsCommand, '--state', 'away')).toContain('it is connected, offline or all')
    expect(await failure(clientsCommand, '--limit', '0')).toContain('not a count')
  })

  it('clients shows and disconnects a client whose id means a folder in a URL', async () => {
    const dots = await client('..')
    const [shown] = await lines<{ id: string; state: string }>(clientsCommand, '..')
    expect(shown).toMatchObject({ id: '..', state: 'connected' })
    const closed = new Promise((resolve) => dots.once('close', () => resolve(undefined)))
    await run(clientsCommand, 'disconnect', '..')
    await closed
  })

  it('clients ID shows one, with subscriptions and will', async () => {
    const { text } = await run(clientsCommand, 'pump-7')
    expect(text).toMatch(/^user +pump$/m)
    expect(text).toMatch(/^will +w, QoS 0, 4 B$/m)
    expect(text).toMatch(/^a\/# +1$/m)
    expect(await lines(clientsCommand, 'show', 'pump-7')).toMatchObject([
      { id: 'pump-7', will: { topic: 'w' } },
    ])
    expect((await lines<{ id: string }>(clientsCommand, HOSTILE))[0]?.id).toBe(HOSTILE)
    expect(await failure(clientsCommand, 'nobody')).toContain('there is no client nobody')
  })

  it('clients queue shows what waits, and remove takes it away', async () => {
    const { text } = await run(clientsCommand, 'queue', 'sleeper')
    expect(text).toMatch(/jobs\/1 .* first$/m)
    expect(text).toMatch(/jobs\/2 .*\\x00\\x1b/m)
    expect((await run(clientsCommand, 'queue', 'sleeper', '--limit', '1')).stderr).toContain('there are more')
    expect((await run(clientsCommand, 'remove', 'sleeper')).text).toBe('sleeper is removed\n')
    expect(await failure(clientsCommand, 'remove', 'sleeper')).toContain('there is no client sleeper')
    expect(await failure(clientsCommand, 'queue', 'sleeper')).toContain('there is no stored session')
  })

  it('clients disconnect closes a connection, with options before the subcommand as well', async () => {
    const victim = await client('victim')
    const closed = new Promise<void>((resolve) => victim.once('close', () => resolve()))
    const { text } = await run(clientsCommand, '--json', 'disconnect', 'victim')
    await closed
    expect(JSON.parse(text)).toEqual({ disconnected: 'victim' })
    expect(await failure(clientsCommand, 'disconnect', 'victim')).toContain('victim is not connected')
  })

  it('retained lists, writes a payload byte by byte, and deletes', async () => {
    expect((await run(retainedCommand, 'state/#')).text).toMatch(/^state\/x +1 +4 B +\\x00\\x1b/m)
    expect((await run(retainedCommand, 'get', 'state/x')).stdout).toEqual(Buffer.from([0, 27, 255, 10]))
    expect((await run(retainedCommand, 'delete', 'state/x')).text).toBe('state/x is deleted\n')
    expect(await failure(retainedCommand, 'get', 'state/x')).toContain('nothing is retained on state/x')
    expect(await failure(retainedCommand, 'delete', 'state/x')).toContain('nothing is retained on state/x')
    expect((await run(retainedCommand, 'state/#')).stderr).toBe('nothing is retained on state/#\n')
  })

  it('agents --admin and streams show tunnels, and cut ends one', async () => {
    const agent = createAgent({ url: broker.url, id: 'pi7', services: {}, doctor: true })
    const user = createTunnelClient({ url: broker.url, id: 'laptop' })
    await Promise.all([agent.connected(), user.connected()])
    const stream = await user.openStream('pi7/doctor')
    const reset = new Promise<Error>((resolve) => stream.once('error', resolve))
    expect((await run(agentsCommand, '--admin')).text).toMatch(/^pi7 +online /m)
    expect(await lines(agentsCommand, '--admin')).toMatchObject([{ name: 'pi7', isOnline: true, streams: 1 }])
    const [found] = await lines<{ id: string }>(streamsCommand)
    expect(found).toMatchObject({ agent: 'pi7', service: 'doctor', client: 'laptop' })
    expect((await run(streamsCommand)).text).toMatch(/pi7\/doctor +laptop/)
    await run(streamsCommand, 'cut', found!.id)
    expect(await reset).toBeInstanceOf(Error)
    expect(await failure(streamsCommand, 'cut', found!.id)).toContain('there is no stream')
    await Promise.all([user.close(), agent.close()])
  })

  it('ban adds, lists and removes', async () => {
    expect((await run(banCommand)).stderr).toBe('no address is banned\n')
    expect((await run(banCommand, 'add', '192.0.2.7', '--seconds', '60')).text).toMatch(
      /^192\.0\.2\.7 is banned until /,
    )
    expect(await lines(banCommand, 'list')).toMatchObject([{ address: '192.0.2.7' }])
    await run(banCommand, 'remove', '192.0.2.7')
    expect(await failure(banCommand, 'remove', '192.0.2.7')).toContain('192.0.2.7 is not banned')
    expect(await failure(banCommand, 'add', 'example.com')).toContain('address')
  })

  it('shows listeners, pods and the configuration in force', async () => {
    expect(await lines(listenersCommand)).toMatchObject([{ url: broker.url, type: 'tcp' }])
    expect((await run(podsCommand)).text).toMatch(/ \* .* ready /)
    const { text } = await run(runningConfigCommand)
    expect(JSON.parse(text)).toMatchObject({ store: { type: 'memory' } })
  })

  it('refusals shows who was refused, and audit what was changed here', async () => {
    await clients[1]!.publishAsync('secret/x', 'y', { qos: 1 })
    expect((await run(refusalsCommand)).text).toMatch(
      / publish +pump-7 +pump +127\.0\.0\.1 .*secret\/x +acl-file/,
    )
    const newest = await lines(refusalsCommand, '--limit', '1')
    expect(newest).toMatchObject([{ point: 'publish', topic: 'secret/x', handler: 'acl-file' }])
    const audit = await lines<{ action: string; key: string }>(auditCommand, '--limit', '100')
    expect(audit.map(({ action }) => action)).toContain('disconnect')
    expect(new Set(audit.map(({ key }) => key))).toEqual(new Set(['local']))
  })

  it('why tells who decides, by which rule, and what to change', async () => {
    const refused = await run(whyCommand, 'pump-7', 'publish', 'secret/x')
    expect(refused.exitCode).toBe(1)
    expect(refused.text).toMatch(/^Refused: /)
    expect(refused.text).toMatch(/^pump-7 is connected as user pump from 127\.0\.0\.1 at listener /m)
    expect(refused.text).toMatch(/^ {2}acl-file +refuses it: .*acl/m)
    expect(refused.text).toMatch(/^To change it: acl-file decides, see .*acl/m)
    const allowed = await run(whyCommand, 'pump-7', 'subscribe', 'a/#')
    expect(allowed.exitCode).toBe(0)
    expect(allowed.text).toMatch(/^Allowed: /)
    const [told] = await lines(whyCommand, 'pump-7', 'open', 'pi7/ssh')
    expect(told).toMatchObject({ allowed: false, client: { id: 'pump-7', state: 'connected' } })
    expect(await failure(whyCommand, 'pump-7', 'fly', 'x')).toContain(
      'it is one of publish, subscribe, open, connect',
    )
    expect(await failure(whyCommand, 'pump-7', 'publish')).toContain('publish what? Name the topic')
    expect(await failure(whyCommand, 'x', 'connect', '--address', 'home')).toContain('is no IPv4 or IPv6')
  })

  it('trace shows packets as they come, until its time is over', async () => {
    const pump = clients[1]!
    const publishing = setInterval(() => pump.publish('a/\u001b[2J', 'payload', { qos: 1 }), 20)
    const { text, stderr } = await run(traceCommand, 'pump-7', '--payload', '--for', '1s')
    clearInterval(publishing)
    expect(text).toMatch(
      /^\d\d:\d\d:\d\d\.\d{3} {2}-> {2}PUBLISH +pump-7 {2}a\/\\x1b\[2J {2}QoS 1 .*"payload"$/m,
    )
    expect(text).toMatch(/ {2}<- {2}PUBACK /)
    expect(stderr).toContain('tracing pump-7')
    expect(await failure(traceCommand)).toContain('name a client, or --topic FILTER')
    expect(await failure(traceCommand, 'x', '--for', '600h')).toContain('--for 600h: at most 576h')
    expect(await failure(traceCommand, 'x', '--topic', 'y')).toContain('name a client, or --topic FILTER')
  })

  it('log-level shows and changes it', async () => {
    expect((await run(logLevelCommand)).text).toBe('debug\n')
    expect((await run(logLevelCommand, 'warn')).text).toBe('warn\n')
    expect(await failure(logLevelCommand, 'loud')).toContain('level')
    await run(logLevelCommand, 'debug')
  })

  it('drain --wait empties the broker, and --undo lets clients in again', async () => {
    const { text } = await run(drainCommand, '--spread', '0s', '--wait')
    expect(text).toBe('drained: no connection is left\n')
    expect(await lines<{ state: string }>(clientsCommand, '--state', 'connected')).toEqual([])
    const refused = connectAsync(broker.url, { reconnectPeriod: 0, connectTimeout: 5_000 })
    await expect(refused).rejects.toThrow(/./)
    expect((await run(drainCommand, '--undo')).text).toBe('it accepts connections again\n')
    await client('back')
    expect(await failure(drainCommand, '--spread', 'soon')).toContain('not a duration')
    expect(await failure(drainCommand, '--spread', '2h')).toContain('--spread 2h: at most 1h')
  })

  it('drain --wait fails when connections are left after its time', async () => {
    await client('stays')
    const said = await failure(drainCommand, '--spread', '1h', '--wait', '--timeout', '0s')
    expect(said).toMatch(/\d connections are left after 0 ms/)
    await run(drainCommand, '--undo')
  })
})

describe('when it does not work', () => {
  const said = async (env: Environment, ...words: string[]): Promise<string> =>
    String((await runCommand(statusCommand(env), words)).error)

  it('says where it has looked, and what to do', async () => {
    expect(await said({ TUNNELMQ_CONFIG: '' })).toContain('TUNNELMQ_CONFIG is empty')
    const url = `http://127.0.0.1:${await freePort()}`
    expect(await said(here, '--api-url', url)).toMatch(
      new RegExp(
        `cannot reach the admin API at ${url}: connection refused. Is the broker running there\\?.*--api-url`,
      ),
    )
  })

  it('says how a key is had when there is none, and when it is a wrong one', async () => {
    const elsewhere = { TUNNELMQ_CONFIG: join(folder, 'other.yaml') }
    await writeFile(elsewhere.TUNNELMQ_CONFIG, JSON.stringify({ admin: { localKeyFile: 'none.key' } }))
    expect(await said(elsewhere)).toMatch(/no API key: .*none\.key is not there.*tunnelmq api-key create/)
    const wrong = { ...here, TUNNELMQ_API_KEY: `tmq_wrong_${'a'.repeat(43)}` }
    expect(await said(wrong)).toMatch(
      /does not take the API key of TUNNELMQ_API_KEY .*tunnelmq api-key create/,
    )
    await writeFile(join(folder, 'empty'), '\n')
    expect(await said(here, '--api-key-file', join(folder, 'empty'))).toContain('there is no API key in')
  })

  it('does not send the key of this machine to another one', async () => {
    expect(await said(here, '--api-url', 'http://192.0.2.1:8080')).toContain(
      'an API key is needed for http://192.0.2.1:8080',
    )
  })

  it('knows what is not an admin server', async () => {
    const { error } = await runCommand(statusCommand(here), ['--api-url', broker.url.replace('mqtt', 'http')])
    expect(String(error)).toContain('cannot reach the admin API')
    expect(await said(here, '--api-url', 'broker:8080')).toContain('is not a URL of the admin server')
    expect(await said(here, '--api-url', 'http://user:key@127.0.0.1')).toContain(
      'a URL has no room for an API key',
    )
  })

  it('ends with 1 and a line as a program, and its variables are none of the configuration', async () => {
    const env = { TUNNELMQ_API_URL: `http://127.0.0.1:${await freePort()}`, TUNNELMQ_API_KEY: 'tmq_x' }
    const { code, stdout, stderr } = await runCli(['clients'], { env, cwd: folder })
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' })
    expect(stderr).toMatch(/^tunnelmq: cannot reach the admin API at [^\n]+\n$/)
    expect((await runCli(['config', 'print'], { env, cwd: folder })).code).toBe(0)
  })
})
