import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { credentials, passwordLine } from '../brokers/kinds.ts'
import { findFreePort, outputOf, untilListening } from '../children.ts'
import { startTunnel } from '../tunnel/running.ts'
import type { Contender } from '../tunnel/contender.ts'
import type { Figures, Order } from '../tunnel/plan.ts'
import type { TunnelRun } from './results.ts'
import { type Places, startRedis } from './setups.ts'

/** One stream between an agent and a client, at one pod or at two. */

const START_DEADLINE_MS = 15_000
const DRIVER_DEADLINE_MS = 60_000
const AGENT = 'bench-agent'
const NODE_OPTIONS = ['--max-semi-space-size=16', '--initial-old-space-size=64']
const MIB = 2 ** 20

export interface TunnelSizes {
  readonly warmupBytes: number
  readonly timedBytes: number
}
export const DEFAULT_SIZES: TunnelSizes = { warmupBytes: 128 * MIB, timedBytes: 384 * MIB }
export const QUICK_SIZES: TunnelSizes = { warmupBytes: 32 * MIB, timedBytes: 96 * MIB }

export async function measureTunnels(
  places: Places,
  round: number,
  sizes: TunnelSizes,
): Promise<TunnelRun[]> {
  const target = await startTarget(places)
  const runs: TunnelRun[] = []
  for (const place of ['one', 'two'] as const) {
    for (const direction of ['up', 'down'] as const) {
      const outcome = await measureOne(places, place, direction, target, sizes).catch((error: unknown) => ({
        error: error instanceof Error ? error.message : String(error),
      }))
      runs.push({ round, direction, place, outcome })
      process.stderr.write(`round ${round}  tunnel ${direction}  ${place}  ${JSON.stringify(outcome)}\n`)
    }
  }
  return runs
}

async function measureOne(
  places: Places,
  place: 'one' | 'two',
  direction: 'up' | 'down',
  target: number,
  { warmupBytes, timedBytes }: TunnelSizes,
): Promise<{ megabytesPerSecond: number }> {
  const { children, folder, built } = places
  const redisPort = await findFreePort()
  const redis = await startRedis(places, redisPort)
  const tunnel = await startTunnel(contender(places, place, redisPort), {
    children,
    folder,
    bulkTarget: target,
    pingTarget: target,
    nodeOptions:
      places.profileFolder === undefined ? [] : ['--cpu-prof', `--cpu-prof-dir=${places.profileFolder}`],
    graceMs: places.profileFolder === undefined ? 0 : 15_000,
  })
  try {
    const order: Order = {
      plan: { kind: 'bulk', direction, streamCount: 1, idleStreamCount: 0, warmupBytes, timedBytes },
      port: tunnel.bulkPort,
      processes: tunnel.processes,
    }
    const command = { file: process.execPath, args: [join(built, 'tunnel/driver.js'), JSON.stringify(order)] }
    const driver = children.start({ command, core: undefined, folder })
    const figures = JSON.parse(await outputOf(driver, DRIVER_DEADLINE_MS)) as Figures
    return { megabytesPerSecond: figures.megabytesPerSecond ?? Number.NaN }
  } finally {
    await tunnel.end()
    await children.end(redis, 0)
  }
}

/** Agent at the first pod, client at the last. */
function contender({ root }: Places, place: 'one' | 'two', redisPort: number): Contender {
  return {
    name: 'tcp',
    settings: place,
    findVersion: () => '',
    start: async ({ start, folder, bulkTarget, pingTarget, nodeOptions }) => {
      const program = (...args: readonly string[]): { file: string; args: readonly string[] } => ({
        file: process.execPath,
        args: [...NODE_OPTIONS, ...nodeOptions, join(root, 'dist/cli/index.js'), ...args],
      })
      const file = (name: string): string => join(folder, name)
      writeFileSync(file('passwords'), passwordLine(credentials))
      writeFileSync(file('password'), `${credentials.password}\n`)
      writeFileSync(
        file('acl'),
        `user ${credentials.username}\ntopic read $tunnel/${AGENT}/+/+/up\ntopic write $tunnel/${AGENT}/#\n`,
      )
      const startPod = async (name: string): Promise<string> => {
        const port = await findFreePort()
        const config = {
          listeners: [{ type: 'tcp', port }],
          handlers: [
            { type: 'password-file', file: file('passwords') },
            { type: 'acl-file', file: file('acl') },
          ],
          store: { type: 'redis', redis: { url: `redis://127.0.0.1:${redisPort}` } },
          admin: { port: 0 },
        }
        writeFileSync(file(`${name}.yaml`), JSON.stringify(config))
        const broker = start('broker', name, program('broker', '--config', file(`${name}.yaml`)))
        await untilListening(broker, port, START_DEADLINE_MS)
        return `mqtt://127.0.0.1:${port}`
      }
      const agentUrl = await startPod('pod-a')
      const clientUrl = place === 'one' ? agentUrl : await startPod('pod-b')
      const login = ['--username', credentials.username, '--password-file', file('password')]
      const services = [
        '--service',
        `bulk=127.0.0.1:${bulkTarget}`,
        '--service',
        `ping=127.0.0.1:${pingTarget}`,
      ]
      start('agent', 'agent', program('agent', '--id', AGENT, ...login, '--broker', agentUrl, ...services))
      const [bulkPort, pingPort] = [await findFreePort(), await findFreePort()]
      const forwards = [`${bulkPort}=${AGENT}/bulk`, `${pingPort}=${AGENT}/ping`]
      start(
        'client',
        'client',
        program('forward', '--client-id', 'bench-client', ...login, '--broker', clientUrl, ...forwards),
      )
      return { bulkPort, pingPort }
    },
  }
}

async function startTarget({ children, built }: Places): Promise<number> {
  const port = await findFreePort()
  const command = { file: process.execPath, args: [join(built, 'tunnel/target.js'), String(port)] }
  const child = children.start({ command, core: undefined, folder: built })
  await untilListening(child, port, START_DEADLINE_MS)
  return port
}
