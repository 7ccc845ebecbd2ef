import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { onTestFinished } from 'vitest'

/**
 * What systemd is in NOTIFY_SOCKET: Node cannot bind such a socket. It closes the file descriptors that come along, which
 * is how systemd tells systemd-notify that it has seen what came before.
 */
const program = `
import array, json, os, socket, sys
server = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
server.bind(sys.argv[1])
print(json.dumps('bound'), flush=True)
while True:
    data, ancillary, _, _ = server.recvmsg(4096, socket.CMSG_SPACE(64))
    for level, kind, content in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds = array.array('i')
            fds.frombytes(content[:len(content) - len(content) % fds.itemsize])
            for fd in fds:
                os.close(fd)
    print(json.dumps(data.decode()), flush=True)
`

export interface NotifySocket {
  readonly path: string
  /** Each datagram's assignments, in the order in which they came. */
  readonly states: readonly Readonly<Record<string, string>>[]
}

/** A notify socket, closed when the test ends. */
export async function openNotifySocket(): Promise<NotifySocket> {
  const folder = await mkdtemp(join(tmpdir(), 'tmq-notify-'))
  const path = join(folder, 'notify')
  const child = spawn('python3', ['-c', program, path], { stdio: ['ignore', 'pipe', 'inherit'] })
  onTestFinished(async () => {
    child.kill()
    await rm(folder, { recursive: true })
  })
  const states: Record<string, string>[] = []
  const lines = createInterface({ input: child.stdout })
  await once(lines, 'line')
  lines.on('line', (line) => {
    const pairs = (JSON.parse(line) as string)
      .trim()
      .split('\n')
      .map((pair) => pair.split('=', 2))
    const state = Object.fromEntries(pairs.map(([key = '', value = '']) => [key, value]))
    if (!('BARRIER' in state)) states.push(state)
  })
  return { path, states }
}
