import { describe, expect, it } from 'vitest'
import type { PodOperations } from '../../../src/admin/operations.ts'
import { createPodCalls, type AnsweringPodCalls } from '../../../src/admin/pod-calls.ts'
import { TunnelMQError } from '../../../src/errors.ts'

const self = 'aaaaaaaaaaaaaaaa'
const other = 'bbbbbbbbbbbbbbbb'

/** Two pods, each with a way to the other; `timeouts` are those that were asked for. */
function twoPods(operations: Partial<PodOperations>): { calls: AnsweringPodCalls; timeouts: number[] } {
  const timeouts: number[] = []
  const there = createPodCalls({
    cluster: { pod: other, pods: () => [], ask: () => Promise.reject(new Error('not asked')) },
    operations: operations as PodOperations,
    timeoutMs: 100,
  })
  const state = { isSelf: false, silentMs: 0, figures: undefined }
  const calls = createPodCalls({
    cluster: {
      pod: self,
      pods: () => [self, other].map((id) => ({ ...state, id })),
      ask(_, question, timeoutMs) {
        timeouts.push(timeoutMs)
        return there.answer(self, question)
      },
    },
    operations: operations as PodOperations,
    timeoutMs: 100,
  })
  return { calls, timeouts }
}

describe('operations at any pod', () => {
  it('calls this pod and asks others, with the same result and the same errors', async () => {
    const { calls } = twoPods({
      unban: (address) => address === '192.0.2.1',
      client: () => undefined,
      cutStream: () => {
        throw new TunnelMQError('TMQ_USAGE', 'no stream has such a name')
      },
    })
    expect(calls.pods()).toEqual([self, other])
    for (const pod of calls.pods()) {
      expect(await calls.call(pod, 'unban', '192.0.2.1')).toBe(true)
      expect(await calls.call(pod, 'unban', '192.0.2.2')).toBe(false)
      expect(await calls.call(pod, 'client', { id: 'a', mountpoint: '' })).toBeUndefined()
      await expect(calls.call(pod, 'cutStream', 'x')).rejects.toMatchObject({
        code: 'TMQ_USAGE',
        message: 'no stream has such a name',
      })
    }
  })

  it('waits longer for a pod whose trace is read', async () => {
    const { calls, timeouts } = twoPods({ readTrace: () => Promise.resolve(undefined), bans: () => [] })
    await calls.call(other, 'bans')
    await calls.call(other, 'readTrace', 't1', 0, 5_000)
    expect(timeouts).toEqual([100, 5_100])
  })

  it.each([
    ['what is not JSON', 'hello', 'not JSON'],
    ['no object', '[1]', 'names no operation'],
    ['no arguments', '{"operation":"bans"}', 'names no operation'],
    ['an unknown name', '{"operation":"shutdown","args":[]}', 'no operation "shutdown"'],
    ['a name of every object', '{"operation":"constructor","args":[]}', 'no operation "constructor"'],
    ['a prototype', '{"operation":"__proto__","args":[]}', 'no operation "__proto__"'],
    ['arguments of another kind', '{"operation":"unban","args":[{"$ne":1}]}', 'arguments of unban'],
    ['too many arguments', '{"operation":"bans","args":[1]}', 'arguments of bans'],
    ['too few arguments', '{"operation":"unban","args":[]}', 'arguments of unban'],
  ])('refuses %s from another pod', async (_, question, message) => {
    const called: string[] = []
    const all = new Proxy({}, { get: (__, name) => () => void called.push(String(name)) }) as PodOperations
    const calls = createPodCalls({
      cluster: { pod: self, pods: () => [], ask: () => Promise.reject(new Error('not asked')) },
      operations: all,
      timeoutMs: 100,
    })
    const answer = calls.answer(other, Buffer.from(question))
    await expect(answer).rejects.toMatchObject({
      code: 'TMQ_USAGE',
      message: expect.stringContaining(message) as string,
    })
    expect(called).toEqual([])
  })
})
