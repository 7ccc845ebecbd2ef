import { Command, InvalidArgumentError } from 'commander'
import { readFile } from 'node:fs/promises'
import { ErrorCode, TunnelMQError } from '../errors.ts'
import { parsePasswordFile } from '../hooks/password-file.ts'
import { hashPassword, verifyPassword } from '../hooks/password-hash.ts'
import { deleteUser, setUser, usernameFault } from '../hooks/password-store.ts'
import { parseScramFile } from '../hooks/scram/handler.ts'
import {
  DEFAULT_ITERATIONS,
  deriveKeys,
  formatStoredKeys,
  MAX_ITERATIONS,
  MIN_ITERATIONS,
  type StoredKeys,
} from '../hooks/scram/stored-keys.ts'
import { saslprep } from '../hooks/scram/saslprep.ts'
import type { Awaitable } from '../hooks/types.ts'
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
  readonly scram?: true
  readonly iterations?: number
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
With --scram it is a file for the handler \`scram\` (SCRAM-SHA-256, clients of MQTT 5).
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
    .option('--scram', 'the file is one of the handler scram')
    .option(
      '--iterations <count>',
      `with --scram: what each login costs the client (${MIN_ITERATIONS} or more)`,
      count,
    )
    .addHelpText('after', help)
    .action((file: string, user: string | undefined, options: PasswdOptions) => run(io, file, user, options))
}

async function run(
  io: PasswdIO,
  file: string,
  user: string | undefined,
  options: PasswdOptions,
): Promise<void> {
  const { scram, iterations, ...chosenActions } = options
  const actions = Object.entries(chosenActions).filter(([, chosen]) => chosen)
  if (actions.length > 1) {
    throw usage(`only one of ${actions.map(([name]) => `--${name}`).join(', ')} at a time`)
  }
  if (iterations !== undefined && scram !== true) throw usage('--iterations is for --scram')
  const kind = scram === true ? scramKind(iterations ?? DEFAULT_ITERATIONS) : plainKind
  if (options.list === true) {
    if (user !== undefined) throw usage('--list takes no user name')
    for (const name of kind.read(await readText(file), file).keys()) io.print(name)
    return
  }
  if (user === undefined) throw usage('the user name is missing')
  const name = scram === true ? prepared(user) : user
  const fault = usernameFault(name)
  if (fault !== undefined) throw usage(fault)
  // One line of the other kind, and the broker would not take the file.
  if (scram === true && options.create !== true) kind.read(await readText(file), file)
  if (options.delete === true) return remove(io, file, name)
  if (options.verify === true) return verify(io, file, name, kind)
  return set(io, file, name, { create: options.create === true, kind })
}

/** What a file holds of each password. */
interface FileKind {
  make(password: Buffer): Promise<string>
  /** Of each user: is this the password? */
  read(text: string, file: string): ReadonlyMap<string, (password: Buffer) => Awaitable<boolean>>
}

const plainKind: FileKind = {
  make: hashPassword,
  read: (text, file) =>
    new Map(
      [...parsePasswordFile(text, file).users].map(([name, { hash }]) => [
        name,
        (password) => verifyPassword(hash, password),
      ]),
    ),
}

function scramKind(iterations: number): FileKind {
  const derive = (password: Buffer, how: Parameters<typeof deriveKeys>[1]): Promise<StoredKeys> =>
    deriveKeys(password.toString(), how).catch((error: unknown) => {
      throw usage(error instanceof Error ? `the password: ${error.message}` : String(error))
    })
  return {
    make: async (password) => formatStoredKeys(await derive(password, { iterations })),
    read: (text, file) =>
      new Map(
        [...parseScramFile(text, file).users].map(([name, { keys }]) => [
          name,
          async (password) => (await derive(password, keys)).storedKey.equals(keys.storedKey),
        ]),
      ),
  }
}

/** As the handler will look for it. */
function prepared(user: string): string {
  const name = saslprep(user)
  if ('fault' in name) throw usage(`the user name: ${name.fault}`)
  return name.text
}

function count(text: string): number {
  const value = Number(text)
  if (Number.isInteger(value) && value >= MIN_ITERATIONS && value <= MAX_ITERATIONS) return value
  throw new InvalidArgumentError(
    `a whole number from ${MIN_ITERATIONS} (RFC 7677) to ${MAX_ITERATIONS} is needed`,
  )
}

async function set(
  io: PasswdIO,
  file: string,
  user: string,
  { create, kind }: { create: boolean; kind: FileKind },
): Promise<void> {
  const password = await readPassword(io.input, io.prompt, { confirm: true })
  // Hashed before the file is locked: that takes a while on small machines.
  const stored = await kind.make(password).finally(() => password.fill(0))
  const outcome = await setUser(file, { name: user, stored }, { create })
  io.print(outcome === 'added' ? `${user} added to ${file}` : `password of ${user} changed in ${file}`)
}

async function remove(io: PasswdIO, file: string, user: string): Promise<void> {
  if (await deleteUser(file, user)) return io.print(`${user} removed from ${file}`)
  io.prompt(`no user ${user} in ${file}\n`)
  io.setExitCode(1)
}

async function verify(io: PasswdIO, file: string, user: string, kind: FileKind): Promise<void> {
  const isRight = kind.read(await readText(file), file).get(user)
  if (isRight === undefined) {
    io.prompt(`no user ${user} in ${file}\n`)
    io.setExitCode(1)
    return
  }
  const password = await readPassword(io.input, io.prompt, { confirm: false })
  const right = await isRight(password)
  password.fill(0)
  if (right) return io.print(`the password of ${user} is right`)
  io.prompt(`wrong password for ${user}\n`)
  io.setExitCode(1)
}

async function readText(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8')
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error)
    throw new TunnelMQError(ErrorCode.file, `${file}: cannot be read: ${why}`, { cause: error })
  }
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
