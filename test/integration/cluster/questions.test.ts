import { beforeAll, afterAll, describe, expect, it } from 'vitest'
import { encodeAnswerPart, encodeQuestion } from '../../../src/cluster/question-format.ts'
import { TunnelMQError } from '../../../src/errors.ts'
import { type RedisServer, startRedis } from '../../support/redis-server.ts'
import { startRoutingPod, type RoutingPod, type RoutingPodOptions } from '../../support/routing-pods.ts'

let redis: RedisServer
beforeAll(async () => {
  redis = await startRedis()
})
afterAll(() => redis.remove())

let worlds = 0
/** Two pods that know each other, beside the pods of the other tests. */
async function twoPods(
  answer: NonNullable<RoutingPodOptions['answer']>,
): Promise<{ a: RoutingPod; b: RoutingPod; prefix: string }> {
  const prefix = `{questions-${worlds++}}:`
  const options = { redis: { keyPrefix: prefix }, answer }
  const a = await startRoutingPod(redis, options)
  const b = await startRoutingPod(redis, options)
  await expect
    .poll(() =>
      a.routing.ask(b.link.pod, Buffer.from('ping'), 500).then(String, ({ code }) => code as string),
    )
    .not.toBe('TMQ_UNREACHABLE')
  return { a, b, prefix }
}

const echo = (_: string, question: Buffer): Promise<Buffer> => Promise.resolve(question)
const codeOf = (error: unknown): string => (error instanceof TunnelMQError ? error.code : 'none')
const noPod = '0123456789abcdef'

describe('questions between pods', () => {
  it('carries a question and its answer byte for byte, also those of many parts, and knows who asks', async () => {
    const askers: string[] = []
    const { a, b } = await twoPods((pod, question) => {
      askers.push(pod)
      return Promise.resolve(Buffer.alloc(question.length * 16, question))
    })
    const question = Buffer.from(Array.from({ length: 262_144 }, (_, index) => index % 251))
    const answer = await a.routing.ask(b.link.pod, question, 10_000)
    expect(answer.length).toBe(4_194_304)
    expect(answer.equals(Buffer.alloc(4_194_304, question))).toBe(true)
    expect(askers.at(-1)).toBe(a.link.pod)
    expect(await b.routing.ask(a.link.pod, Buffer.alloc(0), 5_000)).toHaveLength(0)
    expect(String(await a.routing.ask(a.link.pod, Buffer.from('self'), 5_000))).toContain('selfself')
  })

  it('rejects with what the other pod has answered, code and message', async () => {
    const { a, b } = await twoPods((_, question) => {
      if (String(question) === 'ours') throw new Error('a defect there')
      return Promise.reject(new TunnelMQError('TMQ_USAGE', `what is ${String(question)}?`))
    })
    for (const pod of [b.link.pod, a.link.pod]) {
      await expect(a.routing.ask(pod, Buffer.from('this'), 5_000)).rejects.toMatchObject({
        code: 'TMQ_USAGE',
        message: 'what is this?',
      })
    }
    const defect = await a.routing
      .ask(b.link.pod, Buffer.from('ours'), 5_000)
      .catch((error: unknown) => error)
    expect(defect).toMatchObject({ message: 'a defect there' })
    expect(codeOf(defect)).toBe('none')
  })

  it('is bounded in time, in size both ways, and in number; no such pod is said at once', async () => {
    let held: (() => void)[] = []
    const { a, b } = await twoPods((_, question) => {
      if (String(question) === 'much') return Promise.resolve(Buffer.alloc(4_194_305))
      if (String(question) !== 'hold') return Promise.resolve(question)
      return new Promise((resolve) => held.push(() => resolve(question)))
    })
    const ask = (pod: string, text: string, timeoutMs = 5_000): Promise<unknown> =>
      a.routing.ask(pod, Buffer.from(text), timeoutMs).then(String, codeOf)
    expect(await ask(noPod, 'x')).toBe('TMQ_UNREACHABLE')
    expect(await b.routing.ask(a.link.pod, Buffer.from('hold'), 50).catch(codeOf)).toBe('TMQ_TIMEOUT')
    expect(await ask(a.link.pod, 'hold', 50)).toBe('TMQ_TIMEOUT')
    expect(await ask(b.link.pod, 'y'.repeat(262_145))).toBe('TMQ_LIMIT')
    expect(await ask(b.link.pod, 'much')).toBe('TMQ_LIMIT')
    held = []
    const all = Array.from({ length: 64 }, () => ask(b.link.pod, 'hold'))
    expect(await ask(b.link.pod, 'one more')).toBe('TMQ_LIMIT')
    await expect.poll(() => held.length).toBe(64)
    for (const answer of held) answer()
    expect(await Promise.all(all)).toEqual(Array.from({ length: 64 }, () => 'hold'))
    expect(await ask(b.link.pod, 'again')).toBe('again')
  })

  it('says at once that the pod which was asked is gone', async () => {
    const { a, b } = await twoPods((_, question) =>
      String(question) === 'ping' ? Promise.resolve(question) : new Promise(() => undefined),
    )
    const asked = a.routing.ask(b.link.pod, Buffer.from('x'), 60_000).catch(codeOf)
    await b.link.close()
    expect(await asked).toBe('TMQ_UNREACHABLE')
  })

  it('counts garbage, answers a question once, and takes no answer of a pod that was not asked', async () => {
    const questions: string[] = []
    const { a, b, prefix } = await twoPods((_, question) => {
      questions.push(String(question))
      return String(question) === 'hold' ? new Promise(() => undefined) : echo('', question)
    })
    const channel = `${prefix}ask:${b.link.pod}`
    const garbageBefore = b.routing.stats().garbage
    const id = 'aaaaaaaaaaaaaaaa'
    const question = { pod: noPod, id, timeoutMs: 1_000, bytes: Buffer.from('once') }
    for (const message of [
      Buffer.alloc(0),
      Buffer.from('nonsense, which is longer than the head of a question'),
      Buffer.from([1, 2, 3]),
      Buffer.alloc(40, 0xff),
      encodeQuestion(question),
      encodeQuestion(question),
    ])
      await redis.command('PUBLISH', channel, message)
    await expect.poll(() => b.routing.stats().garbage - garbageBefore).toBe(5)
    expect(questions.filter((text) => text === 'once')).toHaveLength(1)

    // Whoever reads the channel knows the id; the name must be that of the pod that was asked.
    const seenQuestions: Buffer[] = []
    b.link.prompt.subscribe(`ask:${b.link.pod}`, (message) => void seenQuestions.push(Buffer.from(message)))
    const asked = a.routing.ask(b.link.pod, Buffer.from('hold'), 60_000)
    await expect.poll(() => seenQuestions.length).toBe(1)
    const asker = `${prefix}ask:${a.link.pod}`
    const part = { id: seenQuestions[0]!.toString('hex', 9, 17), isLast: true, isError: false, index: 0 }
    const before = a.routing.stats().garbage
    await redis.command(
      'PUBLISH',
      asker,
      encodeAnswerPart({ ...part, pod: noPod, bytes: Buffer.from('false') }),
    )
    await expect.poll(() => a.routing.stats().garbage - before).toBe(1)
    await redis.command(
      'PUBLISH',
      asker,
      encodeAnswerPart({ ...part, pod: b.link.pod, bytes: Buffer.from('true') }),
    )
    expect(String(await asked)).toBe('true')
  })
})
