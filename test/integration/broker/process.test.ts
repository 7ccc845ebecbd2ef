import { once } from 'node:events'
import { writeFile } from 'node:fs/promises'
import { connect as openSocket } from 'node:net'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import { connectMqtt, connectRaw, refusalCode, temporaryFolder } from '../../support/broker-world.ts'
import { type RunningCli, runCli, startCli } from '../../support/run-cli.ts'
import { connectPacket } from '../../support/wire.ts'
import { replaceFile } from '../../support/replace-file.ts'

/** `tunnelmq broker` with a configuration file, killed when the test ends. */
async function start(folder: string, extra = ''): Promise<{ cli: RunningCli; port: number }> {
  const file = join(folder, 'broker.yaml')
  const lines = [
    'listeners: [{ type: tcp, port: 0, allowAnonymous: true }]',
    'admin: { enabled: false }',
    extra,
  ]
  await writeFile(file, `${lines.join('\n')}\n`)
  const cli = startCli(['broker', '--config', file], { cwd: folder })
  onTestFinished(async () => {
    cli.process.kill('SIGKILL')
    await cli.ended
  })
  const [, port = ''] = await cli.output(/mqtt:\/\/127\.0\.0\.1:(\d+)/)
  return { cli, port: Number(port) }
}

describe('the broker as a process', () => {
  it.each(['SIGTERM', 'SIGINT'] as const)(
    'sends all its clients away on %s, and ends with 0',
    async (signal) => {
      const { cli, port } = await start(await temporaryFolder(), 'shutdown: { drainMs: 200 }')
      const clients = await Promise.all(
        Array.from({ length: 20 }, (_, i) => connectRaw(port, { clientId: `c${i}`, clean: i % 2 === 0 })),
      )
      cli.process.kill(signal)
      await Promise.all(clients.map((client) => client.untilClosed()))
      const { code, stdout } = await cli.ended
      expect(code).toBe(0)
      expect(stdout).toContain('"broker stopped"')
    },
  )

  it('takes no new client while it stops', async () => {
    const { cli, port } = await start(await temporaryFolder())
    const lingering = openSocket({ host: '127.0.0.1', port, allowHalfOpen: true })
    onTestFinished(() => void lingering.destroy())
    lingering.resume().write(connectPacket({ clientId: 'c1' }))
    await once(lingering, 'data')
    cli.process.kill('SIGTERM')
    await once(lingering, 'end')
    await expect(connectRaw(port, { clientId: 'c2' })).rejects.toThrow(/ECONNREFUSED/)
    lingering.destroy()
    expect((await cli.ended).code).toBe(0)
  })

  it('ends at once, with 1, on a second signal', async () => {
    const { cli, port } = await start(await temporaryFolder())
    // It never closes its own end, so that the broker waits for it.
    const lingering = openSocket({ host: '127.0.0.1', port, allowHalfOpen: true })
    onTestFinished(() => void lingering.destroy())
    lingering.resume().write(connectPacket({ clientId: 'c1' }))
    await once(lingering, 'data')
    cli.process.kill('SIGTERM')
    await once(lingering, 'end')
    cli.process.kill('SIGINT')
    const { code, stdout } = await cli.ended
    expect(code).toBe(1)
    expect(stdout).toContain('second signal, exiting at once')
    expect(stdout).not.toContain('"broker stopped"')
  })

  it('has everything again after a stop: sessions, subscriptions, queues and retained messages', async () => {
    const folder = await temporaryFolder()
    const store = `store: { path: ${join(folder, 'data')} }`
    const first = await start(folder, store)
    const away = await connectRaw(first.port, { clientId: 'away', clean: false })
    await away.subscribe(['q/#', 2])
    await away.disconnect()
    const publisher = await connectRaw(first.port, { clientId: 'p' })
    for (const qos of [1, 2])
      await publisher.publish({ topic: `q/${qos}`, payload: 'kept', qos, retain: true })
    first.cli.process.kill('SIGTERM')
    expect((await first.cli.ended).code).toBe(0)

    const { port } = await start(folder, store)
    const back = await connectRaw(port, { clientId: 'away', clean: false })
    expect((await back.nextMessages(2)).map(({ topic, retain, dup }) => ({ topic, retain, dup }))).toEqual([
      { topic: 'q/1', retain: false, dup: false },
      { topic: 'q/2', retain: false, dup: false },
    ])
    const fresh = await connectRaw(port, { clientId: 'fresh' })
    await fresh.subscribe(['q/+', 1])
    expect((await fresh.nextMessages(2)).every(({ retain }) => retain)).toBe(true)
  })

  it('reads passwords and rights again on SIGHUP, and asks again about those who are connected', async () => {
    const folder = await temporaryFolder()
    const acl = join(folder, 'acl')
    await writeFile(acl, 'topic readwrite a/#\ntopic readwrite b/#\n')
    const { cli, port } = await start(folder, `handlers: [{ type: acl-file, file: ${acl} }]`)
    const client = await connectRaw(port, { clientId: 'c1' })
    expect(await client.subscribe(['a/1', 1], ['b/1', 1])).toEqual([1, 1])
    await replaceFile(acl, 'topic readwrite b/#\n')
    cli.process.kill('SIGHUP')
    await cli.output(/"reloaded"/)
    await client.publish({ topic: 'a/1', qos: 1 })
    await client.publish({ topic: 'b/1', qos: 1 })
    expect((await client.takeUntil('b/1')).map(({ topic }) => topic)).toEqual(['b/1'])
    await replaceFile(acl, 'topic\n')
    cli.process.kill('SIGHUP')
    await cli.output(/reload failed/)
    await client.publish({ topic: 'b/1', qos: 1 })
    await client.next('publish')
  })

  it.each([
    [
      'limits: { maxPaketBytes: 1 }',
      /broker\.yaml:3:\d+: limits\.maxPaketBytes: .*did you mean maxPacketBytes/,
    ],
    ['handlers: [{ type: password-file, file: none }]', /none/],
    ['listeners: []', /broker\.yaml:3/],
  ])('does not start with a mistake in its configuration: %s', async (line, message) => {
    const folder = await temporaryFolder()
    const file = join(folder, 'broker.yaml')
    await writeFile(file, `# a comment\nadmin: { enabled: false }\n${line}\n`)
    const { code, stdout, stderr } = await runCli(['broker', '--config', file], { cwd: folder })
    expect(code).toBe(1)
    expect(stderr).toMatch(message)
    expect(stdout).not.toContain('"ready"')
  })

  it('does not start twice on one store, and says so', async () => {
    const folder = await temporaryFolder()
    const store = `store: { path: ${join(folder, 'data')} }`
    const { port } = await start(folder, store)
    const { code, stderr } = await runCli(['broker', '--config', join(folder, 'broker.yaml')], {
      cwd: folder,
    })
    expect(code).toBe(1)
    expect(stderr).toMatch(/^tunnelmq: .*data.*\n$/)
    await connectRaw(port, { clientId: 'c1' })
  })

  it('refuses anonymous clients unless its configuration asks for them', async () => {
    const folder = await temporaryFolder()
    const file = join(folder, 'broker.yaml')
    await writeFile(
      file,
      'listeners: [{ type: tcp, port: 0 }]\nadmin: { enabled: false }\nstore: { type: memory }\n',
    )
    const cli = startCli(['broker', '--config', file], { cwd: folder })
    onTestFinished(async () => {
      cli.process.kill('SIGKILL')
      await cli.ended
    })
    const [, port = ''] = await cli.output(/mqtt:\/\/127\.0\.0\.1:(\d+)/)
    expect(await refusalCode(Number(port), { clientId: 'c1' })).toBe(5)
    await expect(connectMqtt(`mqtt://127.0.0.1:${port}`, { username: 'a', password: 'b' })).rejects.toThrow(
      /Bad username or password/,
    )
    await cli.output(/"connection refused"/)
  })
})
