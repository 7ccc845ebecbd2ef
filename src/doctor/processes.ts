import { readdir, readFile, readlink, stat } from 'node:fs/promises'

/** Linux tells in /proc who holds what; of processes of other users only to root. */
export interface Holder {
  readonly pid: number
  /** Its command line, or its name. */
  readonly command: string
  /** It looks like `tunnelmq broker`. */
  readonly isBroker: boolean
}

/** State of a listening socket in /proc/net/tcp, and of one that is nobody's alone in /proc/net/udp. */
const STATES = { tcp: '0A', udp: '07' } as const
const MAX_COMMAND_CHARS = 80

/** Who listens on this port. Undefined: nobody, or somebody who is not ours to see. */
export async function holderOfPort(
  port: number,
  protocol: 'tcp' | 'udp' = 'tcp',
): Promise<Holder | undefined> {
  const tableNames = [protocol, `${protocol}6`]
  const tables = await Promise.all(tableNames.map((name) => textOf(`/proc/net/${name}`)))
  const inodes = new Set(tables.flatMap((table) => listeningInodes(table, port, STATES[protocol])))
  if (inodes.size === 0) return undefined
  const links = new Set([...inodes].map((inode) => `socket:[${inode}]`))
  for (const pid of await processIds()) {
    const names = await readdir(`/proc/${pid}/fd`).catch(() => [])
    for (const name of names) {
      const link = await readlink(`/proc/${pid}/fd/${name}`).catch(() => '')
      if (links.has(link)) return holder(pid)
    }
  }
  return undefined
}

/** Who has a POSIX lock on this file; /proc/locks names it by its inode. */
export async function holderOfLock(file: string): Promise<Holder | undefined> {
  const inode = await stat(file).then(
    ({ ino }) => ino,
    () => undefined,
  )
  if (inode === undefined) return undefined
  const pid = lockHolder(await textOf('/proc/locks'), inode)
  return pid === undefined ? undefined : holder(pid)
}

/** `1: POSIX  ADVISORY  WRITE 4711 08:01:393244 0 EOF` */
export function lockHolder(locks: string, inode: number): number | undefined {
  for (const line of locks.split('\n')) {
    const [, pid, found] = /\sWRITE\s+(\d+)\s+[0-9a-f]+:[0-9a-f]+:(\d+)\s/.exec(line) ?? []
    if (pid !== undefined && Number(found) === inode) return Number(pid)
  }
  return undefined
}

/** Inodes of the sockets that listen on a port, of a table as /proc/net/tcp or udp. */
export function listeningInodes(
  table: string,
  port: number,
  wantedState: string = STATES.tcp,
): readonly string[] {
  const suffix = `:${port.toString(16).toUpperCase().padStart(4, '0')}`
  return table.split('\n').flatMap((line) => {
    const [, local = '', , state, , , , , , inode] = line.trim().split(/\s+/)
    return state === wantedState && local.endsWith(suffix) && inode !== undefined ? [inode] : []
  })
}

/** Of /proc/<pid>/limits: what may be open at once. */
export async function openFileLimits(
  pid: number | 'self',
): Promise<{ readonly soft: number; readonly hard: number } | undefined> {
  const match = /^Max open files\s+(\S+)\s+(\S+)/m.exec(await textOf(`/proc/${pid}/limits`))
  if (match === null) return undefined
  const [soft = 0, hard = 0] = match
    .slice(1, 3)
    .map((word) => (word === 'unlimited' ? Infinity : Number(word)))
  return { soft, hard }
}

async function holder(pid: number): Promise<Holder> {
  const words = (await textOf(`/proc/${pid}/cmdline`)).split('\0').filter((word) => word !== '')
  const command = words.length > 0 ? words.join(' ') : (await textOf(`/proc/${pid}/comm`)).trim()
  const isOurs = words.some((word) => /(^|\/)tunnelmq$|dist\/cli\/index\.js$|tunnelmq/.test(word))
  return {
    pid,
    command: command === '' ? 'a process' : command.slice(0, MAX_COMMAND_CHARS),
    isBroker: isOurs && words.includes('broker'),
  }
}

async function processIds(): Promise<readonly number[]> {
  const names = await readdir('/proc').catch(() => [])
  return names.filter((name) => /^\d+$/.test(name)).map(Number)
}

function textOf(file: string): Promise<string> {
  return readFile(file, 'utf8').catch(() => '')
}
