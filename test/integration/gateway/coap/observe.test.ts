import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { Code, codeText, MessageType, type CoapMessage } from '../../../../src/gateway/coap/message.ts'
import { OptionNumber, readUint } from '../../../../src/gateway/coap/options.ts'
import { CoapPeer, observe, optionOf, stopObserving, uri } from '../../../support/coap-peer.ts'
import { eventually } from '../../../support/eventually.ts'
import { startCoapWorld, startOwnCoapWorld, type CoapWorld } from './world.ts'

let world: CoapWorld
beforeAll(async () => {
  world = await startCoapWorld()
})
afterAll(() => world.broker.stop())
beforeEach(() => void world.rules.calls.splice(0))

const alice = ['username=alice', 'password=secret']
const token = Buffer.from('ob')

function said({ code, payload }: CoapMessage): string {
  return `${codeText(code)} ${payload.toString()}`.trim()
}

function publish(topic: string, text: string, retain = false, to = world): Promise<void> {
  return to.broker.publish({ topic, payload: Buffer.from(text), qos: 1, retain })
}

function told(method: string, of = world): string[] {
  return of.rules.calls.filter((call) => call.startsWith(`${method} `))
}

async function canBind(port: number): Promise<boolean> {
  const socket = createSocket('udp4')
  try {
    socket.bind({ address: '127.0.0.1', port, exclusive: true })
    await once(socket, 'listening')
    return true
  } catch {
    return false
  } finally {
    socket.close()
  }
}

async function observing(topic: string, query: readonly string[] = []): Promise<CoapPeer> {
  const peer = await CoapPeer.open(world.port)
  const answer = await peer.ask({ token, options: [observe, ...uri(topic, ...alice, ...query)] })
  expect(codeText(answer.code)).toBe('2.05')
  return peer
}

describe('an observer', () => {
  it('gets what is retained, then what is published, with rising numbers, until it says stop', async () => {
    await publish('o/1', 'kept', true)
    const peer = await CoapPeer.open(world.port)
    const answer = await peer.ask({ token, options: [observe, ...uri('o/1', ...alice)] })
    expect(said(answer)).toBe('2.05 kept')
    const numbers = [readUint(optionOf(answer, OptionNumber.observe)!)]
    for (const text of ['one', 'two', 'three']) {
      await publish('o/1', text)
      const notification = await peer.next()
      expect(said(notification)).toBe(`2.05 ${text}`)
      expect(notification.token).toEqual(token)
      numbers.push(readUint(optionOf(notification, OptionNumber.observe)!))
      if (notification.type === MessageType.confirmable) peer.acknowledge(notification.messageId)
    }
    expect(numbers).toEqual(numbers.toSorted((a, b) => a - b))
    expect(new Set(numbers).size).toBe(4)
    const last = await peer.ask({ token, options: [stopObserving, ...uri('o/1', ...alice)] })
    expect(said(last)).toBe('2.05 kept')
    expect(optionOf(last, OptionNumber.observe)).toBeUndefined()
    await eventually(() => told('unsubscribe')).toEqual(['unsubscribe alice@coap o/1'])
    await publish('o/1', 'nobody is told')
    await peer.ask({ options: uri('none', ...alice) })
    expect(peer.arrived).toEqual([])
  })

  it('is told the topic, where it observes several', async () => {
    const peer = await observing('w/+/x')
    await publish('w/1/x', 'a')
    const notification = await peer.next()
    const levels = notification.options.filter(({ number }) => number === OptionNumber.locationPath)
    expect(levels.map(({ value }) => value.toString()).join('/')).toBe('w/1/x')
    peer.acknowledge(notification.messageId)
  })

  it('gets one notification until it has shown that it is there, and of each topic the newest then', async () => {
    const peer = await observing('s/+')
    for (const text of ['1', '2', '3', '4']) await publish('s/a', text)
    await publish('s/b', 'b')
    const first = await peer.next()
    expect(first.type).toBe(MessageType.confirmable)
    expect(said(first)).toBe('2.05 1')
    // An answer to this one tells that nothing else was sent before it.
    await peer.ask({ options: uri('none', ...alice) })
    expect(peer.arrived).toEqual([])
    peer.acknowledge(first.messageId)
    expect([said(await peer.next()), said(await peer.next())]).toEqual(['2.05 4', '2.05 b'])
  })

  it('at QoS 1 acknowledges each', async () => {
    const peer = await observing('q1', ['qos=1'])
    for (const text of ['1', '2']) {
      await publish('q1', text)
      const notification = await peer.next(({ payload }) => payload.toString() === text)
      expect(notification.type).toBe(MessageType.confirmable)
      peer.acknowledge(notification.messageId)
    }
  })

  it('ends by a Reset of a confirmable notification', async () => {
    const peer = await observing('r')
    await publish('r', '1')
    const first = await peer.next()
    expect(first.type).toBe(MessageType.confirmable)
    peer.reset(first.messageId)
    await eventually(() => told('unsubscribe')).toEqual(['unsubscribe alice@coap r'])
    expect(told('disconnect')).toEqual([])
  })

  it('ends by a Reset of a notification that is not confirmable', async () => {
    const peer = await observing('r')
    await publish('r', '1')
    peer.acknowledge((await peer.next()).messageId)
    // The Acknowledgement has arrived before this.
    await peer.ask({ options: uri('none', ...alice) })
    await publish('r', '2')
    const second = await peer.next()
    expect(second.type).toBe(MessageType.nonConfirmable)
    peer.reset(second.messageId)
    await eventually(() => told('unsubscribe')).toEqual(['unsubscribe alice@coap r'])
  })

  it('who does not answer any more is disconnected, and told of once', async () => {
    const own = await startOwnCoapWorld({ ackTimeoutMs: 5 })
    const peer = await CoapPeer.open(own.port)
    await peer.ask({ token, options: [observe, ...uri('dead', ...alice)] })
    await publish('dead', 'x', false, own)
    await eventually(() => told('disconnect', own)).toEqual(['disconnect alice@coap client'])
  })

  it('is asked whether it is there, when there is nothing to tell', async () => {
    const own = await startOwnCoapWorld({ confirmableIntervalMs: 30 })
    const peer = await CoapPeer.open(own.port)
    await peer.ask({ token, options: [observe, ...uri('quiet', ...alice)] })
    for (let count = 0; count < 2; count++) {
      const ping = await peer.next(({ code }) => code === Code.empty)
      expect(ping.type).toBe(MessageType.confirmable)
      peer.reset(ping.messageId)
    }
    expect(told('disconnect', own)).toEqual([])
  })

  it('whose rights are taken away is told so, and observes nothing', async () => {
    const own = await startOwnCoapWorld()
    const peer = await CoapPeer.open(own.port)
    const bob = ['username=bob', 'password=right']
    expect(said(await peer.ask({ token, options: [observe, ...uri('o', ...bob)] }))).toBe('2.05')
    own.rules.banished.add('bob')
    await own.broker.reload()
    const farewell = await peer.next()
    expect(said(farewell)).toBe('4.03 rights were taken away')
    expect(farewell.token).toEqual(token)
    peer.acknowledge(farewell.messageId)
    expect(said(await peer.ask({ options: uri('o', ...bob) }))).toMatch(/^4\.03/)
    await eventually(() => told('disconnect', own)).toEqual([
      'disconnect bob@coap revoked',
      'disconnect bob@coap refused',
    ])
  })

  it('is told of the one filter that is taken away, and goes on with the other', async () => {
    const own = await startOwnCoapWorld()
    const peer = await CoapPeer.open(own.port)
    const [taken, kept] = [Buffer.of(1), Buffer.of(2)]
    await peer.ask({ token: taken, options: [observe, ...uri('taken', ...alice)] })
    await peer.ask({ token: kept, options: [observe, ...uri('kept', ...alice)] })
    own.rules.banished.add('taken')
    await own.broker.reload()
    const farewell = await peer.next()
    expect(said(farewell)).toBe('4.03 rights were taken away')
    expect(farewell.token).toEqual(taken)
    peer.acknowledge(farewell.messageId)
    await own.broker.publish({ topic: 'taken', payload: Buffer.from('no'), qos: 0, retain: false })
    await own.broker.publish({ topic: 'kept', payload: Buffer.from('yes'), qos: 0, retain: false })
    const next = await peer.next()
    expect(said(next)).toBe('2.05 yes')
    expect(next.token).toEqual(kept)
  })

  it('is told when the broker goes, which lets nobody new in meanwhile', async () => {
    const own = await startOwnCoapWorld()
    const peer = await CoapPeer.open(own.port)
    await peer.ask({ token, options: [observe, ...uri('o', ...alice)] })
    await own.broker.drain(1)
    const farewell = await peer.next()
    expect(said(farewell)).toBe('5.03 the broker is stopping')
    expect(said(await peer.ask({ options: uri('o', ...alice) }))).toBe('5.03 going away')
    // It has heard it: nobody is here any more, and the port is free for whoever comes in our place.
    peer.acknowledge(farewell.messageId)
    await eventually(() => canBind(own.port)).toBe(true)
    await own.broker.undrain()
    expect(said(await peer.ask({ options: uri('o', ...alice) }))).toMatch(/^4\.04/)
  })

  it('may not observe more than so much', async () => {
    const own = await startOwnCoapWorld({ maxObservationsPerClient: 2 })
    const peer = await CoapPeer.open(own.port)
    const answers: string[] = []
    for (const topic of ['1', '2', '2', '3']) {
      const asked = { token: Buffer.from(topic), options: [observe, ...uri(topic, ...alice)] }
      answers.push(said(await peer.ask(asked)))
    }
    // The second of one token takes the place of the first.
    expect(answers).toEqual(['2.05', '2.05', '2.05', '4.29 too many observations'])
  })
})
