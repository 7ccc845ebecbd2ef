import { execFile, spawn, spawnSync, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { cp, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { tmpdir, userInfo } from 'node:os'
import { createInterface } from 'node:readline'
import type { Readable, Writable } from 'node:stream'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { vi } from 'vitest'

const run = promisify(execFile)

const checkout = fileURLToPath(new URL('../..', import.meta.url))

/**
 * A reader at a new machine: a shell in a clean checkout, with a network and processes of its own, so that the ports
 * on the page are free, and everything ends with it.
 */
export interface Terminal {
  /** In the shell, so that `cd` and variables stay. Rejects with all output when a command fails. */
  run(script: string, input?: string): Promise<string>
  /** In the background of the shell; resolves when its output matches. */
  start(script: string, until: RegExp): Promise<void>
  /** Into the folder where the shell is now; `~/` is the home of the reader. */
  write(name: string, text: string): Promise<void>
  close(): Promise<void>
}

const COMMAND_TIMEOUT_MS = 60_000

/** Why there can be no network of its own here; undefined: there can. */
export function namespaceFault(): string | undefined {
  const { status, stderr } = spawnSync('unshare', ['--net', '--pid', '--fork', 'true'], { encoding: 'utf8' })
  return status === 0 ? undefined : stderr.trim() || 'unshare does not work'
}

export async function openTerminal(): Promise<Terminal> {
  const home = await mkdtemp(join(tmpdir(), 'tunnelmq-reader-'))
  const place = join(home, 'tunnelmq')
  await checkOut(place)
  const environment = await prepareHome(home, place)
  const isApart = process.env['TUNNELMQ_TEST_NO_NETNS'] !== '1'
  // Commands come in by descriptor 3, their exit codes go out by 4: standard input belongs to what is run.
  // And what fails in the middle of a pipe has failed.
  const loop = 'set -o pipefail; while IFS= read -r -u 3 next; do eval "$next"; done'
  const shell = isApart
    ? [
        'unshare',
        '--net',
        '--pid',
        '--fork',
        '--kill-child',
        '--mount-proc',
        'bash',
        '--norc',
        '-c',
        `ip link set lo up; start-sshd; ${loop}`,
      ]
    : ['bash', '--norc', '-c', loop]
  const child = spawn(shell[0]!, shell.slice(1), {
    cwd: place,
    env: environment,
    stdio: ['ignore', 'pipe', 'pipe', 'pipe', 'pipe'],
    detached: true,
  })
  const commands = child.stdio[3] as Writable
  const codes = linesOf(child.stdio[4] as Readable)
  let trouble = ''
  child.stderr!.on('data', (chunk: Buffer) => (trouble += chunk.toString()))
  child.stdout!.resume()
  let count = 0

  /** One line for the shell; resolves to the line that it writes to descriptor 4. */
  async function tell(line: string): Promise<string> {
    commands.write(`${line}\n`)
    const timer = setTimeout(() => end(child), COMMAND_TIMEOUT_MS)
    const answer = await codes()
    clearTimeout(timer)
    if (answer === undefined)
      throw new Error(`the shell has ended, or took longer than ${COMMAND_TIMEOUT_MS} ms; ${trouble}`)
    return answer
  }

  async function scriptFile(script: string): Promise<string> {
    const file = join(home, `step-${++count}`)
    await writeFile(`${file}.sh`, `${script}\n`)
    await writeFile(`${file}.out`, '')
    return file
  }

  return {
    async run(script, input = '') {
      const file = await scriptFile(script)
      await writeFile(`${file}.in`, input)
      // Any command of the block that fails is a failure, not only the last one.
      const code = await tell(
        `failed=0; trap 'failed=$?' ERR; source ${file}.sh <${file}.in >${file}.out 2>&1; trap - ERR; echo "$failed" >&4`,
      )
      const output = await readFile(`${file}.out`, 'utf8')
      if (code !== '0') throw new Error(`exit code ${code} of\n${script}\n${output}`)
      return output
    },
    async start(script, until) {
      const file = await scriptFile(script)
      // A group of its own, so that a reader can end all of it.
      await tell(
        `set -m; (source ${file}.sh) </dev/null >${file}.out 2>&1 & started=$!; set +m; echo started >&4`,
      )
      if (until.test(' is ready')) await tell('broker=$started; echo known >&4')
      const check = async (): Promise<void> => {
        const output = await readFile(`${file}.out`, 'utf8')
        if (!until.test(output))
          throw new Error(`${String(until)} is not in the output of\n${script}\n${output}`)
      }
      await vi.waitFor(check, { timeout: COMMAND_TIMEOUT_MS, interval: 50 })
    },
    async write(name, text) {
      const folder = await tell('pwd >&4')
      const file = name.startsWith('~/') ? join(home, name.slice(2)) : join(folder, name)
      await mkdir(dirname(file), { recursive: true })
      await writeFile(file, text)
    },
    async close() {
      end(child)
      if (child.exitCode === null && child.signalCode === null) await once(child, 'exit')
      await rm(home, { recursive: true, force: true })
    },
  }
}

/** What git knows of, with the packages that were installed already: `npm ci` needs the network. */
async function checkOut(place: string): Promise<void> {
  const listed = spawnSync('git', ['ls-files', '-z'], { cwd: checkout, encoding: 'utf8' })
  if (listed.status !== 0) throw new Error(`git ls-files: ${listed.stderr}`)
  const names = listed.stdout
    .split('\0')
    .filter((name) => name !== '' && !/^(test|bench\/results)\//.test(name))
  for (const name of names) await cp(join(checkout, name), join(place, name), { recursive: true })
  await cp(join(checkout, 'dist'), join(place, 'dist'), { recursive: true })
  await symlink(join(checkout, 'node_modules'), join(place, 'node_modules'))
}

/** A user with an SSH key, who is let in here; and the commands that a page takes for granted. */
async function prepareHome(home: string, place: string): Promise<NodeJS.ProcessEnv> {
  const bin = join(home, 'bin')
  await mkdir(bin)
  const program = (name: string, text: string) =>
    writeFile(join(bin, name), `#!/usr/bin/env bash\n${text}\n`, { mode: 0o755 })
  await program('tunnelmq', `exec ${join(place, 'dist/cli/index.js')} "$@"`)
  await program('sudo', 'exec "$@"')
  await program('npm', 'if [ "$1" = ci ]; then exit 0; fi\nexec "$REAL_NPM" "$@"')
  await prepareSsh(home, program)
  const npm = spawnSync('bash', ['-c', 'command -v npm'], { encoding: 'utf8' }).stdout.trim()
  return {
    PATH: `${bin}:${process.env['PATH']}:/usr/sbin:/sbin`,
    HOME: home,
    USER: userInfo().username,
    LANG: 'C.UTF-8',
    REAL_NPM: npm,
    npm_config_cache: process.env['npm_config_cache'] ?? join(userInfo().homedir, '.npm'),
    npm_config_update_notifier: 'false',
  }
}

/** An SSH server on port 22, as a device has one, and a client that knows its key. */
async function prepareSsh(
  home: string,
  program: (name: string, text: string) => Promise<void>,
): Promise<void> {
  const at = (name: string): string => join(home, '.ssh', name)
  await mkdir(at(''), { mode: 0o700 })
  for (const key of ['host', 'user'])
    await run('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', at(key)])
  await writeFile(at('config'), '')
  const options = `-F ${at('config')} -i ${at('user')} -o IdentitiesOnly=yes -o BatchMode=yes -o LogLevel=ERROR -o UserKnownHostsFile=${at('known_hosts')} -o StrictHostKeyChecking=accept-new`
  await program('ssh', `exec /usr/bin/ssh ${options} "$@"`)
  for (const name of ['scp', 'sftp'])
    await program(name, `exec /usr/bin/${name} -S ${join(home, 'bin/ssh')} "$@"`)
  const settings = [
    `HostKey ${at('host')}`,
    `AuthorizedKeysFile ${at('user.pub')}`,
    `PidFile ${at('sshd.pid')}`,
    'ListenAddress 127.0.0.1:22',
    'StrictModes no',
    'UsePAM no',
    'Subsystem sftp internal-sftp',
  ]
  await writeFile(at('sshd_config'), settings.join('\n'))
  await mkdir('/run/sshd', { recursive: true })
  await program('start-sshd', `exec /usr/sbin/sshd -f ${at('sshd_config')}`)
}

function end(child: ChildProcess): void {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return
  try {
    // Its own group: without a namespace for processes, what it has started ends as well.
    process.kill(-child.pid, 'SIGKILL')
  } catch {
    child.kill('SIGKILL')
  }
}

/** One line after the other; undefined when there will be no more. */
function linesOf(stream: Readable): () => Promise<string | undefined> {
  const lines = createInterface({ input: stream })[Symbol.asyncIterator]()
  return async () => {
    const { value, done } = await lines.next()
    return done === true ? undefined : value
  }
}
