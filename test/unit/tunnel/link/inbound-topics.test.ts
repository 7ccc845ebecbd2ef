import { describe, expect, it } from 'vitest'
import { InboundTopics, type TopicMeaning } from '../../../../src/tunnel/link/inbound-topics.ts'
import { Routes } from '../../../../src/tunnel/protocol/names.ts'

function reader(role: 'agent' | 'client'): {
  readonly routes: Routes
  readonly read: (topic: string) => TopicMeaning
} {
  const routes = new Routes()
  const topics = new InboundTopics({ role, name: 'me', prefix: '$tunnel', routes })
  return {
    routes,
    read(topic) {
      const bytes = Buffer.from(`before${topic}behind`)
      return topics.meaning(bytes, 6, bytes.length - 6)
    },
  }
}

describe('a topic on which something came', () => {
  it('is, at an agent, what goes up to it', () => {
    const { routes, read } = reader('agent')
    for (const client of ['a', 'b', 'b', 'a']) {
      const route = routes.get('me', 'ssh', client)
      expect(read(`$tunnel/me/ssh/${client}/up`)).toEqual({ kind: 'frame', route })
    }
  })

  it('is, at a client, what comes down to it', () => {
    const { routes, read } = reader('client')
    expect(read('$tunnel/pi7/ssh/me/down')).toEqual({ kind: 'frame', route: routes.get('pi7', 'ssh', 'me') })
  })

  it('is nothing when it is for somebody else, or none of tunnels', () => {
    const agent = reader('agent')
    for (const topic of [
      '$tunnel/you/s/c/up',
      '$tunnel/me/s/c/down',
      '$tunnel/me/s/c',
      'x',
      '$tunnel/me/s/c/up/x',
    ]) {
      expect(agent.read(topic)).toEqual({ kind: 'ignored' })
    }
    expect(reader('client').read('$tunnel/me/s/c/up')).toEqual({ kind: 'ignored' })
    expect(reader('client').read('$tunnel/a/s/you/down')).toEqual({ kind: 'ignored' })
  })

  it('is told from one that differs in a single byte, wherever that is', () => {
    const { read } = reader('client')
    const topics = ['aa/ss', 'ba/ss', 'ab/ss', 'aa/st', 'aa/ts', 'a/ss', 'aaa/ss']
    const names = [...topics, ...topics.toReversed()].map((topic) => {
      const meaning = read(`$tunnel/${topic}/me/down`)
      return meaning.kind === 'frame' ? `${meaning.route.agent}/${meaning.route.service}` : meaning.kind
    })
    expect(names).toEqual([...topics, ...topics.toReversed()])
  })

  it('is the status of an agent', () => {
    expect(reader('client').read('$tunnel/pi7/status')).toEqual({ kind: 'status', agent: 'pi7' })
  })

  it('may be empty', () => {
    expect(reader('client').read('')).toEqual({ kind: 'ignored' })
  })
})
