import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { StatusWatch, type WatchConnection } from '../../../../src/tunnel/link/status-watch.ts'

/** Notes what is sent; identifiers count from 2. */
function connection(): WatchConnection & { readonly sent: string[] } {
  const sent: string[] = []
  let nextId = 2
  let pings = 0
  return {
    sent,
    subscribe(filter) {
      sent.push(`${nextId} ${filter}`)
      return nextId++
    },
    ping() {
      sent.push('ping')
      return ++pings
    },
  }
}

/** How a promise stands, after everything that is due. */
async function stateOf(promise: Promise<void>): Promise<string> {
  const state = promise.then(
    () => 'resolved',
    (error: Error) => error.message,
  )
  return Promise.race([state, vi.advanceTimersByTimeAsync(0).then(() => 'waiting')])
}

const errorOf = (promise: Promise<void>): Promise<unknown> => promise.catch((error: unknown) => error)

describe('watching the status of agents', () => {
  beforeEach(() => void vi.useFakeTimers())
  afterEach(() => void vi.useRealTimers())

  it('is complete with the answer to a PINGREQ that was sent behind the last SUBACK', async () => {
    const watch = new StatusWatch('$tunnel')
    const link = connection()
    watch.add('pi7')
    watch.add('+')
    watch.add('pi7')
    const complete = watch.complete(1_000)
    watch.connected(link)
    expect(link.sent).toEqual(['2 $tunnel/pi7/status', '3 $tunnel/+/status'])
    watch.suback(2, 0)
    expect(link.sent).toHaveLength(2)
    watch.suback(3, 0)
    expect(link.sent.at(-1)).toBe('ping')
    expect(await stateOf(complete)).toBe('waiting')
    watch.pingresp(1)
    expect(await stateOf(complete)).toBe('resolved')
  })

  it('is not complete with the answer to an older PINGREQ', async () => {
    const watch = new StatusWatch('$tunnel')
    const link = connection()
    link.ping()
    watch.connected(link)
    watch.add('pi7')
    watch.suback(2, 0)
    const complete = watch.complete(1_000)
    watch.pingresp(1)
    expect(await stateOf(complete)).toBe('waiting')
    watch.pingresp(2)
    expect(await stateOf(complete)).toBe('resolved')
  })

  it('waits for a filter that came while it was pinging', async () => {
    const watch = new StatusWatch('$tunnel')
    const link = connection()
    watch.connected(link)
    watch.add('a')
    watch.suback(2, 0)
    const complete = watch.complete(1_000)
    watch.add('b')
    watch.pingresp(1)
    expect(await stateOf(complete)).toBe('waiting')
    watch.suback(3, 0)
    watch.pingresp(2)
    expect(await stateOf(complete)).toBe('resolved')
  })

  it('begins again on the next connection', async () => {
    const watch = new StatusWatch('$tunnel')
    watch.add('a')
    const first = connection()
    watch.connected(first)
    watch.suback(2, 0)
    const complete = watch.complete(1_000)
    watch.disconnected()
    const second = connection()
    watch.connected(second)
    expect(second.sent).toEqual(['2 $tunnel/a/status'])
    watch.pingresp(1)
    expect(await stateOf(complete)).toBe('waiting')
    watch.suback(2, 0)
    watch.pingresp(1)
    expect(await stateOf(complete)).toBe('resolved')
  })

  it('is complete at once, one PINGREQ later, when nothing is watched', async () => {
    const watch = new StatusWatch('$tunnel')
    watch.connected(connection())
    const complete = watch.complete(1_000)
    watch.pingresp(1)
    expect(await stateOf(complete)).toBe('resolved')
  })

  it('is refused with the first filter that is', async () => {
    const watch = new StatusWatch('t')
    const complete = watch.complete(1_000)
    watch.add('+')
    watch.connected(connection())
    watch.suback(2, 0x80)
    await expect(complete).rejects.toMatchObject({
      code: 'TMQ_CREDENTIALS',
      message: "the broker refused to tell the status of the agents: no right to subscribe to 't/+/status'",
    })
    await expect(watch.complete(1_000)).rejects.toMatchObject({ code: 'TMQ_CREDENTIALS' })
  })

  it('has an end, by its time or with the link', async () => {
    const watch = new StatusWatch('$tunnel')
    const late = errorOf(watch.complete(1_500))
    await vi.advanceTimersByTimeAsync(1_500)
    expect(await late).toMatchObject({ code: 'TMQ_TIMEOUT' })
    const closed = errorOf(watch.complete(1_500))
    watch.close()
    expect(await closed).toMatchObject({ code: 'TMQ_STOPPED' })
    expect(vi.getTimerCount()).toBe(0)
  })
})
