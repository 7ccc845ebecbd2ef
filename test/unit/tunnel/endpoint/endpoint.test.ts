import { describe, expect, it, onTestFinished } from 'vitest'
import { silentOwner, type Channel } from '../../../../src/tunnel/endpoint/channel.ts'
import { Endpoint } from '../../../../src/tunnel/endpoint/endpoint.ts'
import { createStreams } from '../../../../src/tunnel/protocol/create-streams.ts'
import { ResetCode } from '../../../../src/tunnel/protocol/reset-code.ts'
import { later, recordingLog } from '../../../support/tunnel-ends.ts'
import { joinedLinks, type MemoryLink } from '../../../support/tunnel-memory-link.ts'

const token = '0123456789abcdef'

function endpointOf(link: MemoryLink, opened?: (channel: Channel) => void) {
  const log = recordingLog()
  const role = opened === undefined ? 'client' : 'agent'
  const streams = createStreams({ role, limits: {}, firstStreamId: 1 })
  const endpoint = new Endpoint({ link, streams, log, ...(opened && { opened }) })
  onTestFinished(() => endpoint.close(ResetCode.shutdown, 'over', 100))
  return { endpoint, log: log.events }
}

describe('an endpoint', () => {
  it('loses the stream of an owner that throws, and no other', async () => {
    const links = joinedLinks()
    const agent = endpointOf(links.agent, (channel) => {
      channel.owner = {
        ...silentOwner,
        data: (bytes) => {
          if (bytes.toString() === 'bad') throw new Error('of the program')
          channel.write(bytes)
        },
      }
      channel.accept()
    })
    const { endpoint } = endpointOf(links.client)
    const open = (owner: Partial<typeof silentOwner>): Channel => {
      const channel = endpoint.open(links.client.route('pi7', 'x', 'laptop'), { token })
      channel.owner = { ...silentOwner, ...owner }
      return channel
    }
    const ended = later<ResetCode>()
    const answered = later<string>()
    const bad = open({ reset: (code) => ended.resolve(code) })
    const good = open({ data: (bytes) => answered.resolve(bytes.toString()) })
    bad.write(Buffer.from('bad'))
    expect(await ended.promise).toBe(ResetCode.internal)
    good.write(Buffer.from('good'))
    expect(await answered.promise).toBe('good')
    expect(agent.log).toMatchObject([{ level: 'error', message: 'tunnel stream failed' }])
  })

  it('tells the owners of open streams when it is closed, and takes no calls afterwards', async () => {
    const links = joinedLinks()
    const agentSide = later<string>()
    endpointOf(links.agent, (channel) => {
      channel.owner = { ...silentOwner, reset: (_code, reason, by) => agentSide.resolve(`${by}: ${reason}`) }
      channel.accept()
    })
    const { endpoint } = endpointOf(links.client)
    const accepted = later<undefined>()
    const clientSide = later<string>()
    const channel = endpoint.open(links.client.route('pi7', 'x', 'laptop'), { token })
    channel.owner = {
      ...silentOwner,
      accepted: () => accepted.resolve(undefined),
      reset: (_code, reason, by) => clientSide.resolve(`${by}: ${reason}`),
    }
    await accepted.promise
    await endpoint.close(ResetCode.shutdown, 'good-bye', 100)
    expect(await clientSide.promise).toBe('us: good-bye')
    expect(await agentSide.promise).toBe('peer: good-bye')
    expect(channel.isOver).toBe(true)
    expect(channel.write(Buffer.from('x'))).toBe(true)
    channel.finish()
    channel.reset(ResetCode.reset, 'again')
    expect(endpoint.streamCount).toBe(0)
  })

  it('says that it is not connected in time', async () => {
    const links = joinedLinks()
    const { endpoint } = endpointOf(links.client)
    await endpoint.untilUp(20_000)
    links.cut()
    await expect(endpoint.untilUp(5)).rejects.toMatchObject({ code: 'TMQ_UNREACHABLE' })
    const waiting = endpoint.untilUp(20_000)
    await endpoint.close(ResetCode.shutdown, 'over', 100)
    await expect(waiting).rejects.toThrow('closed before it was connected')
  })
})
