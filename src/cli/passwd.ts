import { Command } from 'commander'
import { readFile } from 'node:fs/promises'
import { ErrorCode, TunnelMQError } from '../errors.ts'
import { parsePasswordFile } from '../hooks/password-file.ts'
import { hashPassword, verifyPassword } from '../hooks/password-hash.ts'
import { deleteUser, setUser, usernameFault } from '../hooks/password-store.ts'
import { readPassword, type PasswordInput } from './read-password.ts'

export interface PasswdIO {
  readonly input: PasswordInput
  /** Results. */
  readonly print: (line: string) => void
  /** Prompts and remarks. */
  readonly prompt: (text: string) => void
  readonly setExitCode: (code: number) => void
}

interface PasswdOptions {
  readonly create?: true
  readonly delete?: true
  readonly verify?: true
  readonly list?: true
}

const help = `
The password is asked for on a terminal, else the first line of standard input is taken:

  tunnelmq passwd --create passwords.txt alice
  printf '%s\\n' "$SECRET" | tunnelmq passwd passwords.txt alice

Files of mosquitto_passwd and vmq-passwd are maintained as well: only the line of that user changes.
Exit code 1: wrong password, or no such user.`

/** `tunnelmq passwd`: maintains a password file. Rejects with a TunnelMQError when something goes wrong. */
export function passwdCommand(io: PasswdIO = processIO()): Command {
  return new Command('passwd')
    .description('set, remove, check or list the users of a password file')
    .argument('<file>', 'password file')
    .argument('[user]', 'user name')
    .option('-c, --create', 'make a new file, with this user')
    .option('-D, --delete', 'remove the user')
    .option('--verify', 'check a password')
    .option('--list', 'list the user names')
    .addHelpText('after', help)
    .action((file: string, user: string | undefined, options: PasswdOptions) => run(io, file, user, options))
}

async function run(
  io: PasswdIO,
  file: string,
  user: string | undefined,
  options: PasswdOptions,
): Promise<void> {
  const actions = Object.entries(options).filter(([, chosen]) => chosen === true)
  if (actions.length > 1) {
    throw usage(`only one of ${actions.map(([name]) => `--${name}`).join(', ')} at a time`)
  }
  if (options.list === true) {
    if (user !== undefined) throw usage('--list takes no user name')
    for (const name of (await readUsers(file)).keys()) io.print(name)
    return
  }
  if (user === undefined) throw usage('the user name is missing')
  const fault = usernameFault(user)
  if (fault !== undefined) throw usage(fault)
  if (options.delete === true) return remove(io, file, user)
  if (options.verify === true) return verify(io, file, user)
  return set(io, file, user, options.create === true)
}

async function set(io: PasswdIO, file: string, user: string, create: boolean): Promise<void> {
  const password = await readPassword(io.input, io.prompt, { confirm: true })
  // Hashed before the file is locked: that takes a while on small machines.
  const stored = await hashPassword(password).finally(() => password.fill(0))
  const outcome = await setUser(file, { name: user, stored }, { create })
  io.print(outcome === 'added' ? `${user} added to ${file}` : `password of ${user} changed in ${file}`)
}

async function remove(io: PasswdIO, file: string, user: string): Promise<void> {
  if (await deleteUser(file, user)) return io.print(`${user} removed from ${file}`)
  io.prompt(`no user ${user} in ${file}\n`)
  io.setExitCode(1)
}

async function verify(io: PasswdIO, file: string, user: string): Promise<void> {
  const entry = (await readUsers(file)).get(user)
  if (entry === undefined) {
    io.prompt(`no user ${user} in ${file}\n`)
    io.setExitCode(1)
    return
  }
  const password = await readPassword(io.input, io.prompt, { confirm: false })
  const right = await verifyPassword(entry.hash, password)
  password.fill(0)
  if (right) return io.print(`the password of ${user} is right`)
  io.prompt(`wrong password for ${user}\n`)
  io.setExitCode(1)
}

async function readUsers(file: string) {
  let text: string
  try {
    text = await readFile(file, 'utf8')
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error)
    throw new TunnelMQError(ErrorCode.file, `${file}: cannot be read: ${why}`, { cause: error })
  }
  return parsePasswordFile(text, file).users
}

function usage(message: string): TunnelMQError {
  return new TunnelMQError(ErrorCode.usage, message)
}

function processIO(): PasswdIO {
  return {
    input: process.stdin,
    print: (line) => process.stdout.write(`${line}\n`),
    prompt: (text) => process.stderr.write(text),
    setExitCode: (code) => {
      process.exitCode = code
    },
  }
}
