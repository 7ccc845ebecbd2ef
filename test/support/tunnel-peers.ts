import { randomBytes } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect } from 'vitest'
import type { ConfigInput } from '../../src/config/schema.ts'
import { AuthError, type Handler } from '../../src/hooks/types.ts'
import { answersFilter, serveFilter } from '../../src/tunnel/protocol/names.ts'
import type { TestBroker } from './broker.ts'
import { connectRaw, openBroker, temporaryFolder } from './broker-world.ts'
import type { RawClient } from './raw-client.ts'
import { brief, frames, seen, type SeenFrame } from './tunnel-frames.ts'
import type { ConnectFields } from './wire.ts'

export const UP = '$tunnel/pi7/ssh/laptop/up'
export const DOWN = '$tunnel/pi7/ssh/laptop/down'

/** A tunnel end, or an attacker, that says frame by frame what it wants. */
export class Peer {
  readonly raw: RawClient

  constructor(raw: RawClient) {
    this.raw = raw
  }

  async serve(name: string): Promise<this> {
    expect(await this.raw.subscribe([serveFilter(name), 0])).toEqual([0])
    return this
  }

  async listen(name: string): Promise<this> {
    expect(await this.raw.subscribe([answersFilter(name), 0])).toEqual([0])
    return this
  }

  /** At QoS 0, in one write. */
  send(topic: string, ...all: readonly Buffer[]): void {
    this.raw.send(...all.map((payload) => this.raw.publishPacket({ topic, payload })))
  }

  /** The next frame on whichever tunnel topic. */
  async next(): Promise<SeenFrame & { readonly topic: string }> {
    const { topic, payload } = await this.raw.next('publish', undefined, 'with a frame')
    return { ...seen(payload), topic }
  }

  /** What came and was not looked at, when the broker has dealt with all that was sent. */
  async rest(): Promise<string[]> {
    await this.raw.ping()
    const lines: string[] = []
    while (this.raw.waitingMessages.length > 0) {
      const { topic, payload } = await this.raw.next('publish')
      lines.push(topic.endsWith('/status') ? `status ${topic}` : brief(payload))
    }
    return lines
  }
}

/** A stream between an agent and a client, with random bytes each way that are compared. */
export class VictimStream {
  readonly agent: Peer
  readonly client: Peer
  readonly id: number
  readonly #topics: { readonly up: string; readonly down: string }
  #upBytes = 0
  #downBytes = 0

  constructor(agent: Peer, client: Peer, id = 7, topics = { up: UP, down: DOWN }) {
    this.agent = agent
    this.client = client
    this.id = id
    this.#topics = topics
  }

  async open(): Promise<this> {
    this.client.send(this.#topics.up, frames.open(this.id))
    expect(await this.agent.next()).toMatchObject({ type: 'open', stream: this.id })
    this.agent.send(this.#topics.down, frames.accept(this.id, 2 ** 40))
    expect(await this.client.next()).toMatchObject({ type: 'accept', stream: this.id })
    return this
  }

  /** More bytes both ways: they are the next that come, unchanged, and nothing else does. */
  async exchange(): Promise<void> {
    const up = randomBytes(300).toString('hex')
    const down = randomBytes(300).toString('hex')
    const { up: upTopic, down: downTopic } = this.#topics
    this.client.send(upTopic, frames.data(this.id, this.#upBytes, up, { acked: this.#downBytes }))
    expect(await this.agent.next()).toMatchObject({
      type: 'data',
      topic: upTopic,
      offset: this.#upBytes,
      payload: up,
      acked: this.#downBytes,
    })
    this.#upBytes += up.length
    const limit = this.#upBytes + 2 ** 40
    this.agent.send(downTopic, frames.data(this.id, this.#downBytes, down, { acked: this.#upBytes, limit }))
    expect(await this.client.next()).toMatchObject({
      type: 'data',
      topic: downTopic,
      offset: this.#downBytes,
      payload: down,
      acked: this.#upBytes,
      limit,
    })
    this.#downBytes += down.length
    // Credit for as much again.
    this.client.send(
      upTopic,
      frames.ack(this.id, {
        offset: this.#upBytes,
        acked: this.#downBytes,
        limit: this.#downBytes + 1_048_576,
      }),
    )
    expect(await this.agent.next()).toMatchObject({ type: 'ack', acked: this.#downBytes })
    expect([await this.agent.rest(), await this.client.rest()]).toEqual([[], []])
  }
}

export interface TunnelBroker {
  readonly broker: TestBroker
  readonly aclFile: string
  /** With the user name of the same name, and its password. */
  readonly as: (username: string, fields?: Partial<ConnectFields>) => Promise<Peer>
  /** Sum of a metric over the samples whose labels contain the text. */
  readonly metric: (name: string, label?: string) => Promise<number>
}

export const OPEN_ACL = `
user pi7
topic readwrite #
topic readwrite $tunnel/#
user ann
topic readwrite #
topic readwrite $tunnel/#
user mallory
topic readwrite #
topic readwrite $tunnel/#
`

/** What is sensible: everybody has what is theirs. */
export const STRICT_ACL = `
user pi7
topic read $tunnel/pi7/#
user ann
topic write $tunnel/pi7/ssh/laptop/up
topic read $tunnel/+/status
user mallory
topic readwrite #
topic read $tunnel/mallory/#
topic write $tunnel/pi7/web/#
topic read $tunnel/+/status
`

/** Everybody has a password; a file of hashes would take its time in each test. */
const passwords: Handler = {
  name: 'passwords',
  authConnect({ username, password }) {
    if (username === undefined || password?.toString() !== `pw-${username}`)
      throw new AuthError('wrong password')
  },
}

export async function openTunnelBroker(
  acl: string,
  overrides: Partial<ConfigInput> = {},
  ...handlers: readonly Handler[]
): Promise<TunnelBroker> {
  const folder = await temporaryFolder()
  const aclFile = join(folder, 'acl')
  await writeFile(aclFile, acl)
  const broker = await openBroker(
    {
      admin: { enabled: true, port: 0 },
      handlers: [{ type: 'acl-file', file: aclFile }],
      listeners: [{ type: 'tcp', port: 0 }],
      ...overrides,
    },
    passwords,
    ...handlers,
  )
  return {
    broker,
    aclFile,
    as: async (username, fields = {}) =>
      new Peer(
        await connectRaw(broker.port, {
          clientId: username,
          username,
          password: `pw-${username}`,
          ...fields,
        }),
      ),
    metric: (name, label = '') => metricOf(broker, name, label),
  }
}

/** Sum of a metric over the samples whose labels contain the text. */
export async function metricOf(broker: TestBroker, name: string, label = ''): Promise<number> {
  const text = await (await fetch(new URL('/metrics', broker.adminUrl))).text()
  const samples = text
    .split('\n')
    .filter((line) => line.startsWith(`${name}{`) || line.startsWith(`${name} `))
  expect(samples).not.toEqual([])
  return samples
    .filter((line) => line.includes(label))
    .reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(' ') + 1)), 0)
}

/** An agent `pi7`, a client `laptop` of the user ann, a stream between them, and mallory with rights of its own. */
export async function openVictim(
  acl: string,
  overrides: Partial<ConfigInput> = {},
  ...handlers: readonly Handler[]
): Promise<TunnelBroker & { agent: Peer; client: Peer; victim: VictimStream; mallory: Peer }> {
  const world = await openTunnelBroker(acl, overrides, ...handlers)
  const agent = await (await world.as('pi7')).serve('pi7')
  const client = await (await world.as('ann', { clientId: 'laptop' })).listen('laptop')
  const victim = await new VictimStream(agent, client).open()
  await victim.exchange()
  return { ...world, agent, client, victim, mallory: await world.as('mallory') }
}
