import { AssertionError } from 'node:assert'
import { expect, it } from 'vitest'
import { RawClient } from '../support/raw-client.ts'
import type { ConnectFields } from '../support/wire.ts'

/** A broker that a scenario is played on: ours, or bare Aedes. */
export interface BrokerUnderTest {
  readonly port: number
  /** How long its clients wait for what must come. */
  readonly deadlineMs: number
  stop(): Promise<void>
}

/** One that keeps what it has stored. */
export interface RestartableBroker extends BrokerUnderTest {
  /** Stops it in an orderly way, and starts it again. */
  restart(): Promise<void>
}

/** One broker and its clients, for one scenario. */
export class Stage<B extends BrokerUnderTest> {
  readonly broker: B
  readonly #clients: RawClient[] = []

  constructor(broker: B) {
    this.broker = broker
  }

  /** A connection over which nothing has been sent. */
  async open(): Promise<RawClient> {
    const { port, deadlineMs } = this.broker
    const client = await RawClient.open({ port, deadlineMs })
    this.#clients.push(client)
    return client
  }

  /** A connected client; clean, with an id of its own, unless told otherwise. */
  async connect(fields: Partial<ConnectFields> = {}): Promise<RawClient> {
    const client = await this.open()
    const { code } = await client.connect({ clientId: `client-${this.#clients.length}`, ...fields })
    if (code !== 0) throw new AssertionError({ message: `CONNACK ${code}` })
    return client
  }

  async clear(): Promise<void> {
    await Promise.all(this.#clients.map((client) => client.destroy()))
    await this.broker.stop()
  }
}

export type Scenario<B extends BrokerUnderTest = BrokerUnderTest> = (stage: Stage<B>) => Promise<void>

export interface Defect<B extends BrokerUnderTest> {
  readonly scenario: Scenario<B>
  /** Our brokers, by what is said of them in the test's title. */
  readonly ours: Readonly<Record<string, () => Promise<B>>>
  readonly bare: () => Promise<NoInfer<B>>
  /** The assertion that fails on bare Aedes: it is the defect, and no accident, that is seen. */
  readonly fails: RegExp
}

/** The tests of one defect: its scenario passes on ours, and is known to be able to fail, since it does on bare Aedes. */
export function defect<B extends BrokerUnderTest>(title: string, defined: Defect<B>): void {
  for (const [name, start] of Object.entries(defined.ours)) {
    it(`${title}: ours, ${name}`, async () => {
      await play(start, defined.scenario)
    })
  }
  it(`${title}: bare Aedes shows the defect`, async () => {
    const failure = await play(defined.bare, defined.scenario).then(
      () => 'the scenario passes on bare Aedes',
      (error: unknown) => error,
    )
    expect(failure, String(failure)).toMatchObject({ name: 'AssertionError' })
    expect((failure as Error).message).toMatch(defined.fails)
  })
}

/** Plays a scenario, and clears the stage whatever becomes of it. */
export async function play<B extends BrokerUnderTest>(
  start: () => Promise<B>,
  scenario: Scenario<B>,
): Promise<void> {
  const stage = new Stage(await start())
  try {
    await scenario(stage)
  } finally {
    await stage.clear()
  }
}
