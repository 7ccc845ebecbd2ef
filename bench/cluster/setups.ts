import type { ChildProcess } from 'node:child_process'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { type Site, tunnelmqCommand } from '../brokers/kinds.ts'
import { type Children, findFreePort, untilListening } from '../children.ts'

/** The brokers of the cluster bench: one process or two, with Redis beside them. */

export type SetupName = 'embedded' | 'pod' | 'pods' | 'aedes' | 'aedes-2'

const START_DEADLINE_MS = 15_000
/** What a Redis that is to lose nothing is told; a second of writes may be lost with its machine. */
const REDIS_ARGS = ['--save', '', '--appendonly', 'yes', '--appendfsync', 'everysec', '--bind', '127.0.0.1']

export interface Places {
  readonly root: string
  readonly built: string
  readonly children: Children
  /** An empty folder of this one run. */
  readonly folder: string
  readonly profileFolder: string | undefined
}

export interface Running {
  readonly port: number
  /** Of the second broker. */
  readonly otherPort: number | undefined
  readonly brokerPid: number
  readonly processes: readonly ChildProcess[]
}

export const setups: Readonly<Record<SetupName, string>> = {
  embedded: 'TunnelMQ alone, embedded store with sync, password-file, acl-file, limits and metrics on',
  pod: 'one TunnelMQ on Redis (AOF, everysec), else the same',
  pods: 'two TunnelMQ on that Redis',
  aedes:
    'one Aedes 1.2.0 with aedes-persistence-redis 12 and mqemitter-redis 7, no authentication, same Redis',
  'aedes-2': 'two of those',
}

/** Resolves when all of it listens. */
export async function startSetup(name: SetupName, places: Places): Promise<Running> {
  const processes: ChildProcess[] = []
  const port = await findFreePort()
  if (name === 'embedded') {
    const store = { type: 'embedded', path: join(places.folder, 'data'), sync: true }
    const broker = await startOurs(places, 'a', port, store)
    return { port, otherPort: undefined, brokerPid: broker.pid ?? 0, processes: [broker] }
  }
  const redisPort = await findFreePort()
  processes.push(await startRedis(places, redisPort))
  const isOurs = name.startsWith('pod')
  const start = async (label: string, at: number): Promise<ChildProcess> =>
    isOurs
      ? await startOurs(places, label, at, {
          type: 'redis',
          redis: { url: `redis://127.0.0.1:${redisPort}` },
        })
      : await startAedes(places, label, at, redisPort)
  const first = await start('a', port)
  processes.push(first)
  const otherPort = name === 'pods' || name === 'aedes-2' ? await findFreePort() : undefined
  if (otherPort !== undefined) processes.push(await start('b', otherPort))
  return { port, otherPort, brokerPid: first.pid ?? 0, processes }
}

async function startOurs(
  places: Places,
  label: string,
  port: number,
  store: Readonly<Record<string, unknown>>,
): Promise<ChildProcess> {
  const site: Site = { port, folder: folderOf(places, label), profileFolder: places.profileFolder }
  return await startChild(places, site.folder, port, tunnelmqCommand(places.root, site, store))
}

async function startAedes(
  places: Places,
  label: string,
  port: number,
  redisPort: number,
): Promise<ChildProcess> {
  const args = [join(places.built, 'brokers/aedes-redis.js'), String(port), String(redisPort)]
  return await startChild(places, folderOf(places, label), port, { file: process.execPath, args })
}

export async function startRedis(
  places: Pick<Places, 'children' | 'folder'>,
  port: number,
): Promise<ChildProcess> {
  const folder = folderOf(places, 'redis')
  const args = [...REDIS_ARGS, '--port', String(port), '--dir', folder]
  return await startChild(places, folder, port, { file: 'redis-server', args })
}

async function startChild(
  { children }: Pick<Places, 'children'>,
  folder: string,
  port: number,
  command: { file: string; args: readonly string[] },
): Promise<ChildProcess> {
  // Not bound to cores: what is asked for is what two cores do with all of it.
  const child = children.start({ command, core: undefined, folder, logFile: join(folder, 'output.log') })
  await untilListening(child, port, START_DEADLINE_MS)
  return child
}

function folderOf({ folder }: Pick<Places, 'folder'>, label: string): string {
  const path = join(folder, label)
  mkdirSync(path, { recursive: true })
  return path
}
