import mqtt, { type MqttClient } from 'mqtt'
import { describe, expect, it, onTestFinished } from 'vitest'
import { connectMqtt, connectRaw, openRaw, eventsOf } from '../../support/broker-world.ts'
import { startPod, startPods } from '../../support/broker-pods.ts'
import { startRedis } from '../../support/redis-server.ts'
import { ackPacket, Packet, publishPacket, subscribePacket } from '../../support/wire.ts'

function numbers(count: number): string[] {
  return Array.from({ length: count }, (_, index) => String(index))
}
function gather(client: MqttClient): string[] {
  const got: string[] = []
  client.on('message', (_topic, payload) => got.push(payload.toString()))
  return got
}
const wait = (ms: number) => new Promise((r) => setTimeout(r, ms))

describe('zz', () => {
  it('T1 persistent group member comes back', async () => {
    const { pods } = await startPods(2)
    const member = await connectMqtt(pods[1]!.url, { clientId: 'm', clean: false })
    const before = gather(member)
    await member.subscribeAsync('$share/g/t', { qos: 1 })
    const publisher = await connectMqtt(pods[0]!.url)
    await publisher.publishAsync('t', 'first', { qos: 1 })
    await expect.poll(() => before).toEqual(['first'])
    await member.endAsync()
    await wait(200)
    await Promise.all(numbers(10).map((text) => publisher.publishAsync('t', text, { qos: 1 })))
    const back = mqtt.connect(pods[1]!.url, { clientId: 'm', clean: false, reconnectPeriod: 0 })
    const got = gather(back)
    onTestFinished(() => back.endAsync(true))
    await expect.poll(() => got.length, { timeout: 5000 }).toBe(10)
  })
  it('T2 lease while Redis is frozen', { timeout: 30_000 }, async () => {
    const { pods, redis } = await startPods(2)
    const member = await connectRaw(pods[1]!.port, { clientId: 'm', clean: true })
    member.send(subscribePacket(1, [['$share/g/t', 1]]))
    await expect.poll(() => member.received.some((p) => (p as any).type === 'suback')).toBe(true)
    const publisher = await connectMqtt(pods[0]!.url)
    await Promise.all(numbers(60).map((text) => publisher.publishAsync('t', text, { qos: 1 })))
    const pubs = () => member.received.filter((p) => (p as any).type === 'publish') as any[]
    await expect.poll(() => pubs().length).toBe(20)
    redis.freeze()
    for (const p of pubs()) member.send(ackPacket(Packet.puback, p.messageId))
    await wait(8000)
    redis.thaw()
    await wait(500)
    let acked = 20
    await expect.poll(() => { for (const p of pubs().slice(acked)) { member.send(ackPacket(Packet.puback, p.messageId)); acked++ } ; return new Set(pubs().map((p) => p.payload)).size }, { timeout: 5000 }).toBe(60)
  })
  it('T5 no orphans', async () => {
    const { pods, redis } = await startPods(2)
    for (let i = 0; i < 30; i++) {
      const raw = await connectRaw(pods[0]!.port, { clientId: `x${i}`, clean: true })
      raw.send(subscribePacket(1, [[`$share/g/t${i}`, 1]]))
      await new Promise((r) => setTimeout(r, i % 3))
      raw.destroy()
    }
    await wait(1000)
    expect(await redis.command('HKEYS', '{tunnelmq}:sessions')).toEqual([])
  })
  it('T6 shared $SYS', async () => {
    const { pods } = await startPods(2, { sysIntervalMs: 100 })
    const m = await connectMqtt(pods[0]!.url)
    const got = gather(m)
    await m.subscribeAsync('$share/g/$SYS/broker/uptime')
    await expect.poll(() => got.length, { timeout: 5000 }).toBeGreaterThan(0)
  })
  for (const how of ['kill', 'freeze'] as const)
    it(`T8 stop with redis ${how}`, { timeout: 60_000 }, async () => {
      const { pods, redis } = await startPods(1)
      await connectMqtt(pods[0]!.url, { clientId: 's', clean: false, will: { topic: 'w', payload: Buffer.from('x'), qos: 1 } })
      if (how === 'kill') await redis.kill()
      else redis.freeze()
      const at = performance.now()
      await pods[0]!.stop()
      console.log('T8', how, Math.round(performance.now() - at), 'ms', pods[0]!.events.slice(-6).map((e) => e['msg']))
    })
  it('T9 reason of a take-over with clean 1', async () => {
    const { pods } = await startPods(2)
    for (let i = 0; i < 5; i++) {
      await connectMqtt(pods[0]!.url, { clientId: 'c', clean: false })
      await connectMqtt(pods[1]!.url, { clientId: 'c', clean: true })
    }
    await wait(200)
    console.log('T9', eventsOf(pods[0]!, 'client disconnected').map((e) => e['reason']))
  })
  it('T11 emptied', { timeout: 30_000 }, async () => {
    const { pods, redis } = await startPods(2)
    const clean = await connectMqtt(pods[1]!.url)
    const got = gather(clean)
    const member = await connectMqtt(pods[1]!.url)
    const shared = gather(member)
    await clean.subscribeAsync('t', { qos: 1 })
    await member.subscribeAsync('$share/g/t', { qos: 1 })
    const stored = await connectMqtt(pods[1]!.url, { clientId: 's', clean: false })
    await stored.subscribeAsync('t', { qos: 1 })
    const closed = new Promise<void>((r) => stored.once('close', () => r()))
    await redis.flush()
    await closed
    let n = 0
    const publisher = await connectMqtt(pods[0]!.url, {}).catch(async () => { await wait(2000); return connectMqtt(pods[0]!.url) })
    await wait(2000)
    for (; n < 10; n++) await publisher.publishAsync('t', String(n), { qos: 1 })
    await expect.poll(() => got.length).toBe(10)
    await expect.poll(() => shared.length).toBe(10)
    expect(clean.connected).toBe(true)
  })
  it('T12 groups come and go', { timeout: 60_000 }, async () => {
    const { pods } = await startPods(2)
    const publisher = await connectMqtt(pods[1]!.url)
    const a = await connectMqtt(pods[0]!.url)
    const b = await connectMqtt(pods[1]!.url, { clientId: 'b' })
    const got = [...[gather(a)], ...[gather(b)]]
    let sent = 0
    for (let i = 0; i < 60; i++) {
      const [one, other] = i % 2 ? [a, b] : [b, a]
      // the last one leaves while another comes
      await Promise.all([one.subscribeAsync('$share/g/t', { qos: 1 }), i > 0 ? other.unsubscribeAsync('$share/g/t') : undefined])
      await publisher.publishAsync('t', String(sent++), { qos: 1 })
    }
    await expect.poll(() => got.flat().length, { timeout: 5000 }).toBe(sent)
  })
})
