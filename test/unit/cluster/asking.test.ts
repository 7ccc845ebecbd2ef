import { expect, it } from 'vitest'
import { Asking } from '../../../src/cluster/asking.ts'

it('a pod that does not answer does not keep another from being asked', async () => {
  const sent: string[] = []
  const asking = new Asking({
    isThere: () => true,
    send: (pod) => {
      sent.push(pod)
      return undefined
    },
    garbage: () => undefined,
  })
  const hung = Array.from({ length: 64 }, () => asking.ask('hung', Buffer.from('?'), 60_000))
  await expect(asking.ask('hung', Buffer.from('?'), 60_000)).rejects.toThrow(
    '64 questions to pod hung are not answered yet',
  )
  const well = asking.ask('well', Buffer.from('?'), 60_000)
  expect(sent.filter((pod) => pod === 'well')).toHaveLength(1)
  asking.close()
  const outcomes = await Promise.allSettled([...hung, well])
  expect(outcomes.every(({ status }) => status === 'rejected')).toBe(true)
})
