import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { userInfo } from 'node:os'
import { join } from 'node:path'
import { findFreePort } from '../children.ts'
import type { Contender } from './contender.ts'

/** `ssh -L` through an sshd of our own: keys of this run, a free port of loopback, no file of the system's sshd. */

const SSHD = '/usr/sbin/sshd' // it insists on an absolute path
/** Where sshd of Debian confines itself when root starts it; its service makes the folder. */
const PRIVILEGE_SEPARATION_FOLDER = '/run/sshd'

export const ssh: Contender = {
  name: 'ssh',
  settings: 'ssh -L, sshd, and their defaults: it encrypts (chacha20-poly1305); two processes and a child',
  findVersion: () => {
    if (!existsSync(SSHD)) return undefined
    const { stderr } = spawnSync('ssh', ['-V'], { encoding: 'utf8', timeout: 5_000 })
    return /^OpenSSH_(\S+?),?\s/.exec(stderr ?? '')?.[1]
  },
  start: async ({ start, folder, bulkTarget, pingTarget }) => {
    const [hostKey, userKey, config] = ['host-key', 'user-key', 'sshd_config'].map((name) =>
      join(folder, name),
    ) as [string, string, string]
    for (const file of [hostKey, userKey])
      spawnSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', file], { timeout: 5_000 })
    if (process.getuid?.() === 0) mkdirSync(PRIVILEGE_SEPARATION_FOLDER, { recursive: true, mode: 0o755 })
    const sshPort = await findFreePort()
    const lines = [
      `ListenAddress 127.0.0.1:${sshPort}`,
      `HostKey ${hostKey}`,
      `AuthorizedKeysFile ${userKey}.pub`,
      'PidFile none',
      'PasswordAuthentication no',
      'PermitRootLogin prohibit-password',
      'StrictModes no',
      'UsePAM no',
    ]
    writeFileSync(config, `${lines.join('\n')}\n`)
    start('server', 'sshd', { file: SSHD, args: ['-D', '-e', '-f', config] })

    const [bulkPort, pingPort] = [await findFreePort(), await findFreePort()]
    const options = [
      'BatchMode=yes',
      'ExitOnForwardFailure=yes',
      'IdentitiesOnly=yes',
      'StrictHostKeyChecking=no',
      'UserKnownHostsFile=/dev/null',
      'ConnectionAttempts=5',
    ].flatMap((option) => ['-o', option])
    const forwards = [
      ['-L', `127.0.0.1:${bulkPort}:127.0.0.1:${bulkTarget}`],
      ['-L', `127.0.0.1:${pingPort}:127.0.0.1:${pingTarget}`],
    ].flat()
    start('client', 'ssh', {
      file: 'ssh',
      args: [
        ...['-F', 'none', '-N', '-i', userKey, '-p', String(sshPort)],
        ...options,
        ...forwards,
        `${userInfo().username}@127.0.0.1`,
      ],
    })
    return { bulkPort, pingPort }
  },
}
