import { randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { link, mkdir, readFile, rename, unlink, writeFile } from 'node:fs/promises'
import { dirname } from 'node:path'
import { ErrorCode, TunnelMQError } from '../errors.ts'
import type { Log } from '../log.ts'
import { watchFiles } from '../watch-files.ts'
import { createKeyText, LOCAL_KEY_NAME, nameInKey } from './api-key.ts'

/**
 * The key of this process for commands on its machine: a file that the user who runs the broker, and root, can read.
 *
 *     tmq_local_<43 characters>
 *     # http://127.0.0.1:8080 of process 812/1732190400123/6f0c...
 *
 * The second line says where the broker is, and which process it is: number, start and boot of the machine, so that a
 * file which a power cut has left is not taken for that of a broker that runs.
 */
export interface LocalKey {
  readonly text: string
  /** Removes the file, unless another broker has put its own there. */
  remove(): Promise<void>
}

export interface LocalKeyOptions {
  readonly file: string
  /** Where the API is. */
  readonly url: string
  readonly log: Log
}

/** Undefined, with a warning: the file cannot be written, or is that of another broker. */
export async function writeLocalKey({ file, url, log }: LocalKeyOptions): Promise<LocalKey | undefined> {
  const text = createKeyText(LOCAL_KEY_NAME)
  const owner = ownProcess()
  try {
    const holder = await claim(file, `${text}\n# ${url} of process ${owner}\n`)
    if (holder !== undefined) {
      log.warn({ file, holder }, 'no local key: its file is that of another broker; set admin.localKeyFile')
      return undefined
    }
  } catch (error) {
    log.warn({ file, err: error }, 'no local key: its file cannot be written')
    return undefined
  }

  const isStillOurs = async (): Promise<boolean> => (await keyIn(file)) === text
  const watch = watchFiles([file], {
    onChange: () =>
      void isStillOurs().then((ours) => {
        if (!ours) log.warn({ file }, 'the file of the local key was removed, or replaced by another broker')
      }),
  })
  return {
    text,
    async remove() {
      watch.close()
      if (await isStillOurs()) await unlink(file).catch(() => undefined)
    },
  }
}

/** Puts the file there whole, or answers whose it is. */
async function claim(file: string, content: string): Promise<string | undefined> {
  await mkdir(dirname(file), { recursive: true, mode: 0o700 })
  const temporary = `${file}.${randomBytes(6).toString('hex')}.tmp`
  await writeFile(temporary, content, { flag: 'wx', mode: 0o600 })
  try {
    // Fails when there is one, so that of two brokers that start together one sees the other.
    await link(temporary, file)
    await unlink(temporary)
    return undefined
  } catch (error) {
    const found = await readFile(file, 'utf8').catch(() => '')
    // A path that was meant for something else: what is there is worth more than the key.
    if (!isKeyFile(found)) {
      await unlink(temporary)
      throw new TunnelMQError(
        ErrorCode.file,
        `${file}: there is a file that no broker has written as its key`,
      )
    }
    const holder = holderIn(found)
    if (holder !== undefined && isAlive(holder)) {
      await unlink(temporary)
      return holder
    }
    // Left behind, or a file system without hard links.
    await rename(temporary, file).catch(async () => {
      await unlink(temporary)
      throw error
    })
    return undefined
  }
}

async function keyIn(file: string): Promise<string | undefined> {
  return (await readFile(file, 'utf8').catch(() => '')).split('\n')[0]
}

/** Or one that a power cut has left empty, or full of zeros. */
function isKeyFile(text: string): boolean {
  return nameInKey(text.split('\n')[0] ?? '') === LOCAL_KEY_NAME || /^[\0\s]*$/.test(text)
}

function holderIn(text: string): string | undefined {
  return / of process (\S+)$/m.exec(text)?.[1]
}

function ownProcess(): string {
  return `${process.pid}/${startOf(process.pid)}/${bootId()}`
}

function isAlive(holder: string): boolean {
  const pid = Number(holder.split('/')[0])
  return Number.isSafeInteger(pid) && pid > 0 && holder === `${pid}/${startOf(pid)}/${bootId()}` && runs(pid)
}

function runs(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    // EPERM: it runs, as another user.
    return error instanceof Error && 'code' in error && error.code === 'EPERM'
  }
}

/** Clock ticks since boot, proc(5) stat, field 22; `-` where there is no /proc: then the number alone decides. */
function startOf(pid: number): string {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    // The second field is the name of the program, which may have spaces and parentheses.
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? '-'
  } catch {
    return '-'
  }
}

function bootId(): string {
  try {
    return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()
  } catch {
    return '-'
  }
}
