import { describe, expect, it, onTestFinished } from 'vitest'
import { temporaryFolder } from '../../support/broker-world.ts'
import { eventually } from '../../support/eventually.ts'
import { openNotifySocket, type NotifySocket } from '../../support/notify-socket.ts'
import { startCli, type RunningCli } from '../../support/run-cli.ts'

/** Pings are told three times in it: here every 100 ms. */
const WATCHDOG_USEC = '300000'

function start(args: readonly string[], env: Readonly<Record<string, string>>, cwd: string): RunningCli {
  const cli = startCli(args, { cwd, env })
  onTestFinished(() => void cli.process.kill('SIGKILL'))
  return cli
}

const seen = ({ states }: NotifySocket) =>
  states.map((state) => Object.keys(state).find((key) => key !== 'STATUS' && key !== 'MONOTONIC_USEC'))
/** Without the pings, which come in between. */
const steps = (socket: NotifySocket) => seen(socket).filter((step) => step !== 'WATCHDOG')
const pings = (socket: NotifySocket) => seen(socket).length - steps(socket).length

const settings = ['listeners=[{type: tcp, port: 0}]', 'admin.enabled=false', 'log.format=json']
const broker = ['broker', ...settings.flatMap((setting) => ['--set', setting])]
const agent = ['agent', '--id', 'pi7', '--service', 'ssh=127.0.0.1:22', '--broker', 'mqtt://127.0.0.1:1']

describe('systemd', () => {
  it('hears from a broker that it is ready, lives, reads its files again, and stops', async () => {
    const socket = await openNotifySocket()
    const env = { NOTIFY_SOCKET: socket.path, WATCHDOG_USEC }
    const cli = start(broker, env, await temporaryFolder())
    await eventually(() => pings(socket)).toBeGreaterThan(1)
    expect(seen(socket)[0]).toBe('READY')
    expect(socket.states[0]).toEqual({ READY: '1', STATUS: 'running' })

    cli.process.kill('SIGHUP')
    await eventually(() => steps(socket)).toEqual(['READY', 'RELOADING', 'READY'])
    const reloading = socket.states.find((state) => 'RELOADING' in state)
    const monotonicUs = Number(process.hrtime.bigint() / 1_000n)
    expect(Number(reloading?.['MONOTONIC_USEC'])).toBeGreaterThan(0)
    expect(Number(reloading?.['MONOTONIC_USEC'])).toBeLessThanOrEqual(monotonicUs)

    const before = pings(socket)
    await eventually(() => pings(socket)).toBeGreaterThan(before)
    cli.process.kill('SIGTERM')
    expect((await cli.ended).code).toBe(0)
    await eventually(() => steps(socket)).toEqual(['READY', 'RELOADING', 'READY', 'STOPPING'])
  })

  it('hears from an agent that it is ready, also while its broker is away, lives, and stops', async () => {
    const socket = await openNotifySocket()
    const cli = start(agent, { NOTIFY_SOCKET: socket.path, WATCHDOG_USEC }, await temporaryFolder())
    await eventually(() => pings(socket)).toBeGreaterThan(0)
    expect(socket.states[0]).toEqual({ READY: '1', STATUS: 'agent pi7' })
    cli.process.kill('SIGTERM')
    expect((await cli.ended).code).toBe(0)
    await eventually(() => steps(socket)).toEqual(['READY', 'STOPPING'])
  })

  it('gets no pings where the unit has no WatchdogSec, or where that is for another process', async () => {
    const [without, another] = await Promise.all([openNotifySocket(), openNotifySocket()])
    const folder = await temporaryFolder()
    const both = [
      start(agent, { NOTIFY_SOCKET: without.path }, folder),
      start(agent, { NOTIFY_SOCKET: another.path, WATCHDOG_USEC: '3000', WATCHDOG_PID: '1' }, folder),
    ]
    for (const socket of [without, another]) await eventually(() => seen(socket)).toEqual(['READY'])
    for (const cli of both) cli.process.kill('SIGTERM')
    for (const socket of [without, another])
      await eventually(() => seen(socket)).toEqual(['READY', 'STOPPING'])
  })
})

it('a broker whose systemd-notify is missing says so, and serves', async () => {
  const env = { NOTIFY_SOCKET: '/nonexistent', PATH: '/nonexistent' }
  const cli = start(broker, env, await temporaryFolder())
  await cli.output(/systemd was not told/)
  cli.process.kill('SIGTERM')
  expect((await cli.ended).code).toBe(0)
})
