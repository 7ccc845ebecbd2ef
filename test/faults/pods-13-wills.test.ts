import { expect, it } from 'vitest'
import { LoadClient } from '../support/load-client.ts'
import { freeze, type Pods, startPods, startReady, thaw } from '../support/pods.ts'
import { eventually, report, texts } from './ledger.ts'

/** As promised: after the death of the pod that held it. */
const PUBLISHED_WITHIN_MS = 15_000

class Wills {
  readonly pods: Pods
  /** Each at the pod of its index. */
  readonly watchers: LoadClient[] = []

  constructor(pods: Pods) {
    this.pods = pods
  }

  /** At QoS 2, one persistent session and the others clean, at these pods. */
  async watchAt(...pods: readonly number[]): Promise<void> {
    for (const pod of pods) {
      const watcher = this.#client(pod, `watcher-${pod}`, this.watchers.length > 0)
      await watcher.connect()
      await watcher.subscribe(['will/#', 2])
      this.watchers.push(watcher)
    }
  }

  async mortal(pod: number, clientId: string, payload: string, qos: 0 | 1 | 2 = 2): Promise<LoadClient> {
    const will = { topic: `will/${clientId}`, payload, qos, retain: qos === 1 }
    const client = new LoadClient({ port: this.pods.ports[pod]!, clientId, will })
    expect((await client.connect()).code).toBe(0)
    return client
  }

  /** Of MQTT 5: its will waits for that long. */
  async patient(
    pod: number,
    clientId: string,
    payload: string,
    willDelayInterval: number,
  ): Promise<LoadClient> {
    const will = { topic: `will/${clientId}`, payload, qos: 2, properties: { willDelayInterval } }
    const options = { port: this.pods.ports[pod]!, clientId, will, sessionExpirySeconds: 600 }
    const client = new LoadClient({ ...options, version: 5, clean: false })
    expect((await client.connect()).code).toBe(0)
    return client
  }

  /** Every watcher gets these, and no others. */
  async came(...due: string[]): Promise<void> {
    await eventually(() =>
      this.watchers.every(({ received }) => due.every((payload) => texts(received).includes(payload))),
    )
    await Promise.all(this.watchers.map((watcher) => watcher.ping()))
    for (const { received } of this.watchers) expect(texts(received).sort()).toEqual(due.sort())
  }

  #client(pod: number, clientId: string, clean: boolean): LoadClient {
    return new LoadClient({ port: this.pods.ports[pod]!, clientId, clean })
  }
}

// With the leases as they are by default: this is the promise to operators.
const byDefault = { config: { cluster: { leaseMs: 8_000 } } }

it('three survivors publish the wills of a killed pod once, and none of those that are back', async () => {
  const pods = await startPods(4, byDefault)
  const wills = new Wills(pods)
  await wills.watchAt(1, 2, 3)
  await wills.mortal(0, 'away', 'away 1')
  await wills.mortal(0, 'away-retained', 'retained 1', 1)
  await wills.mortal(0, 'returning', 'returning 1')
  await wills.mortal(0, 'late', 'late 1')
  const polite = await wills.mortal(0, 'polite', 'polite 1')
  await polite.disconnect()
  const elsewhere = await wills.mortal(1, 'elsewhere', 'elsewhere 1')
  await pods.all[0]!.kill()
  const killedAt = performance.now()
  // Before the pod is declared dead, 8 s after it was heard of last.
  const late = new Promise((resolve) => setTimeout(resolve, 5_000)).then(() =>
    wills.mortal(3, 'late', 'late 2'),
  )
  const returned = await wills.mortal(2, 'returning', 'returning 2')
  await wills.came('away 1', 'retained 1')
  const tookMs = performance.now() - killedAt
  expect(tookMs).toBeLessThan(PUBLISHED_WITHIN_MS)
  await late

  // No second time, not even by a pod that starts now; and those that are back die anew, each its own death.
  await startReady(pods.all[0]!)
  await returned.vanish()
  await elsewhere.vanish()
  await wills.came('away 1', 'retained 1', 'returning 2', 'elsewhere 1')
  const reader = new LoadClient({ port: pods.ports[0]!, clientId: 'reader' })
  await reader.connect()
  await reader.subscribe(['will/#', 1])
  await reader.ping()
  expect(texts(reader.received)).toEqual(['retained 1'])
  report(
    '13 (pod killed)',
    4,
    `4 wills delivered to each of 3, the dead pod's after ${Math.round(tookMs)} ms; 3 not due, and not published`,
  )
})

it('a rolling stop loses no will, and publishes none of a client that is back', async () => {
  const pods = await startPods(3, byDefault)
  const wills = new Wills(pods)
  const watcher = new LoadClient({ port: 0, clientId: 'watcher', clean: false })
  await watcher.connect(pods.ports[2])
  await watcher.subscribe(['will/#', 2])
  wills.watchers.push(watcher)
  let stoppedAt = 0
  for (const [index, pod] of pods.all.entries()) {
    const next = (index + 1) % 3
    await wills.mortal(index, `away-${index}`, `away ${index}`)
    const returning = await wills.mortal(index, `returning-${index}`, `returning ${index}`)
    expect(await pod.stop()).toBe(0)
    stoppedAt = performance.now()
    await returning.closed
    const returned = await wills.mortal(next, `returning-${index}`, `returned ${index}`)
    await returned.disconnect()
    if (!watcher.isOpen) await watcher.connect(pods.ports[next])
    await startReady(pod)
  }
  await wills.came('away 0', 'away 1', 'away 2')
  expect(performance.now() - stoppedAt).toBeLessThan(PUBLISHED_WITHIN_MS)
  report('13 (rolling stop)', 3, '3 wills delivered, once each; 3 not due, and not published')
})

it('a pod that was stopped for longer than its lease has its wills published once, by others', async () => {
  const pods = await startPods(3)
  const wills = new Wills(pods)
  await wills.watchAt(1, 2)
  const frozen = await wills.mortal(0, 'frozen', 'frozen 1')
  const moved = await wills.mortal(0, 'moved', 'moved 1')
  await wills.patient(0, 'delayed', 'delayed 1', 1)
  await wills.patient(0, 'returning', 'returning 1', 1)
  freeze(pods.all[0]!)
  await wills.mortal(1, 'moved', 'moved 2')
  await wills.patient(2, 'returning', 'returning 2', 600)
  await wills.came('frozen 1', 'delayed 1')
  thaw(pods.all[0]!)
  await Promise.all([frozen.closed, moved.closed])
  const last = await wills.mortal(2, 'last', 'last 1')
  await last.vanish()
  await wills.came('frozen 1', 'delayed 1', 'last 1')
  report('13 (pod stopped)', 3, '3 wills delivered to each of 2; 1 not due, and not published')
})

it('a client that is taken over by one at another pod has its will published once, and its successor another', async () => {
  const pods = await startPods(2)
  const wills = new Wills(pods)
  await wills.watchAt(0, 1)
  const first = await wills.mortal(0, 'same', 'first')
  const second = await wills.mortal(1, 'same', 'second')
  await first.closed
  await wills.came('first')
  await second.vanish()
  await wills.came('first', 'second')

  // With a delay: neither by a take-over nor by a return at the other pod, but by a clean start there.
  const early = await wills.patient(0, 'patient', 'early', 2)
  const later = await wills.patient(1, 'patient', 'later', 2)
  await early.closed
  expect(early.ended?.reasonCode).toBe(0x8e)
  await later.vanish()
  const last = await wills.patient(0, 'patient', 'cleaned', 600)
  await wills.patient(1, 'sentinel', 'sentinel', 3).then((client) => client.vanish())
  await wills.came('first', 'second', 'sentinel')
  await new LoadClient({ port: pods.ports[1]!, clientId: 'patient', version: 5 }).connect()
  await last.closed
  await wills.came('first', 'second', 'sentinel', 'cleaned')
  report('13 (taken over)', 4, '4 wills delivered to each of 2; 2 not due, and not published')
})
