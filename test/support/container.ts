import { execFileSync, spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import {
  cpSync,
  existsSync,
  mkdirSync,
  readFileSync,
  realpathSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { readCopy, type Instruction, type Stage } from './dockerfile.ts'

/**
 * What an engine would do with our Dockerfile, by the means of the kernel: the steps of its stages in a clean folder,
 * and a process in it as its root, read-only, with a user and a PID namespace of its own.
 */

const root = fileURLToPath(new URL('../../', import.meta.url))

/** Runs the steps of a stage in a folder. `npm ci` is what `npm ci` has done for this checkout. */
export function runStage(stage: Stage, folder: string, env: Readonly<Record<string, string>>): void {
  const workdir = stage.instructions.find(({ word }) => word === 'WORKDIR')?.text ?? '/'
  const home = join(folder, workdir)
  mkdirSync(home, { recursive: true })
  for (const instruction of stage.instructions) {
    if (instruction.word === 'COPY') copyStep(instruction, home)
    if (instruction.word !== 'RUN') continue
    if (instruction.text.startsWith('npm ci')) linkModules(join(home, 'node_modules'))
    else
      execFileSync('sh', ['-c', instruction.text], {
        cwd: home,
        // Nothing that is done here may need the network.
        env: { PATH: process.env['PATH'], HOME: folder, npm_config_offline: 'true', ...env },
        stdio: 'pipe',
      })
  }
}

function copyStep(instruction: Instruction, home: string): void {
  const { sources, target } = readCopy(instruction)
  for (const source of sources) copyInto(join(root, source), join(home, target), target.endsWith('/'))
}

/** As COPY: a file into a folder (`target/`), a folder's content into the folder. */
export function copyInto(source: string, target: string, intoFolder: boolean): void {
  const place = intoFolder ? join(target, source.slice(source.lastIndexOf('/') + 1)) : target
  mkdirSync(dirname(place), { recursive: true })
  cpSync(source, place, { recursive: true, verbatimSymlinks: true })
}

/** By links, as what follows removes files and does not change them; but for the list that npm keeps. */
function linkModules(target: string): void {
  const source = realpathSync(join(root, 'node_modules'))
  try {
    execFileSync('cp', ['--archive', '--link', source, target], { stdio: 'pipe' })
  } catch {
    execFileSync('rm', ['-rf', target])
    execFileSync('cp', ['--archive', source, target], { stdio: 'pipe' })
  }
  const list = join(target, '.package-lock.json')
  const text = readFileSync(list)
  execFileSync('rm', ['-f', list])
  writeFileSync(list, text)
}

export interface ContainerOptions {
  /** The root of its files; what the machine has under /usr is seen in it. */
  readonly folder: string
  readonly command: readonly string[]
  readonly env: Readonly<Record<string, string>>
  readonly workdir: string
  /** `uid:gid` */
  readonly user: string
  /** Folders of the root that may be written to. */
  readonly writable: readonly string[]
}

export interface Container {
  /** Resolves with the first match of its output; rejects when it ends without one. */
  output(pattern: RegExp): Promise<RegExpExecArray>
  /** A command inside, as its user: as `docker exec`. */
  exec(...command: readonly string[]): { code: number; output: string }
  /** To its first process. */
  signal(signal: NodeJS.Signals): void
  /** Its exit code. */
  readonly ended: Promise<number | null>
  kill(): void
}

/** $1: the root; $2: writable folders; $3: node's folder; then the command. */
const setUp = `
set -eu
new=$1 writable=$2 node=$3
shift 3
mount --make-rprivate /
mount --bind "$new" "$new"
for folder in usr opt/node; do mkdir -p "$new/$folder"; done
mount --rbind /usr "$new/usr"
mount --bind "$node" "$new/opt/node"
mount --bind -o ro /dev "$new/dev"
mount -t proc proc "$new/proc"
mount -t tmpfs tmpfs "$new/tmp"
for folder in $writable; do mount --bind "$new$folder" "$new$folder"; done
for folder in usr opt/node; do mount -o remount,bind,ro "$new/$folder"; done
mount -o remount,bind,ro "$new"
for folder in $writable; do mount -o remount,bind,rw "$new$folder"; done
exec chroot "$new" "$@"
`

export function startContainer(options: ContainerOptions): Container {
  const { folder, user, workdir, env } = options
  const [uid = '', gid = ''] = user.split(':')
  for (const name of ['usr', 'dev', 'proc', 'tmp']) mkdirSync(join(folder, name), { recursive: true })
  for (const name of ['bin', 'sbin', 'lib', 'lib64']) {
    if (existsSync(join('/usr', name)) && !existsSync(join(folder, name)))
      symlinkSync(`usr/${name}`, join(folder, name))
  }
  const node = dirname(dirname(realpathSync(process.execPath)))
  const isRoot = process.getuid?.() === 0
  // Without root, the user of this process is the one in there, and has no more rights than outside.
  const drop = isRoot ? ['--reuid', uid, '--regid', gid, '--clear-groups'] : []
  const asUser = ['setpriv', ...drop, '--no-new-privs', '--inh-caps=-all', '--bounding-set=-all']
  const inside = [...asUser, 'env', '-i', `--chdir=${workdir}`, ...entriesOf(env)]
  const child = spawn(
    'unshare',
    [
      ...(isRoot ? [] : ['--user', '--map-root-user']),
      ...['--mount', '--pid', '--fork', '--kill-child', 'sh', '-c', setUp, 'sh'],
      ...[folder, options.writable.join(' '), node],
      ...inside,
      ...options.command,
    ],
    { stdio: ['ignore', 'pipe', 'pipe'] },
  )
  return containerOf(child, inside)
}

function entriesOf(env: Readonly<Record<string, string>>): string[] {
  return Object.entries(env).map(([name, value]) =>
    name === 'PATH' ? `PATH=${value}:/opt/node/bin` : `${name}=${value}`,
  )
}

function containerOf(child: ChildProcess, inside: readonly string[]): Container {
  let said = ''
  for (const stream of [child.stdout, child.stderr])
    stream?.on('data', (chunk: Buffer) => (said += chunk.toString()))
  const ended = once(child, 'close').then(() => child.exitCode)

  function firstProcess(): number {
    const { pid = 0 } = child
    return Number(readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ')[0])
  }

  return {
    ended,
    async output(pattern) {
      for (;;) {
        const match = pattern.exec(said)
        if (match !== null) return match
        const isOver = await Promise.race([
          ended.then(() => true),
          ...[child.stdout, child.stderr].map((stream) => once(stream!, 'data').then(() => false)),
        ])
        if (isOver && !pattern.test(said)) throw new Error(`${String(pattern)} not in:\n${said}`)
      }
    },
    exec(...command) {
      const target = ['--target', String(firstProcess()), '--mount', '--pid', '--root', '--wd']
      try {
        const output = execFileSync('nsenter', [...target, ...inside, ...command], { stdio: 'pipe' })
        return { code: 0, output: output.toString() }
      } catch (error) {
        const { status, stdout, stderr } = error as { status: number; stdout: Buffer; stderr: Buffer }
        return { code: status, output: `${stdout.toString()}${stderr.toString()}` }
      }
    },
    signal: (signal) => void process.kill(firstProcess(), signal),
    kill: () => void child.kill('SIGKILL'),
  }
}

/** Bytes of the files in a folder. */
export function sizeOf(folder: string): number {
  const text = execFileSync('du', ['--apparent-size', '--bytes', '--summarize', folder], { encoding: 'utf8' })
  return Number(text.split('\t')[0])
}
