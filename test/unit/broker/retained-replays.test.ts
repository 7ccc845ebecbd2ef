import { describe, expect, it } from 'vitest'
import { RetainedReplays } from '../../../src/broker/retained-replays.ts'

describe('retained messages for new subscriptions', () => {
  it('are looked up at once while there is room, and later when there is room again, in order', () => {
    let hasRoom = true
    const done: string[] = []
    const replays = new RetainedReplays(() => hasRoom)
    replays.add('a', () => {
      done.push('a')
      hasRoom = false
    })
    replays.add('b', () => done.push('b'))
    replays.add('c', () => done.push('c'))
    replays.proceed()
    expect(done).toEqual(['a'])
    hasRoom = true
    replays.proceed()
    expect(done).toEqual(['a', 'b', 'c'])
  })

  it('are looked up once for a subscription that is made again, and not for one that has ended', () => {
    let hasRoom = false
    const done: string[] = []
    const replays = new RetainedReplays(() => hasRoom)
    for (const turn of ['1', '2', '3']) replays.add('a', () => done.push(turn))
    replays.add('b', () => done.push('b'))
    replays.remove('b')
    hasRoom = true
    replays.proceed()
    expect(done).toEqual(['3'])
  })

  it('are not looked up from within one another', () => {
    const done: string[] = []
    const replays = new RetainedReplays(() => true)
    replays.add('a', () => {
      replays.add('b', () => done.push('b'))
      done.push('a')
    })
    expect(done).toEqual(['a', 'b'])
  })
})
