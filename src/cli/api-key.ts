import { Command } from 'commander'
import { readFile } from 'node:fs/promises'
import { createKeyText, hashKey, keyNameFault } from '../admin/api-key.ts'
import { scopes } from '../admin/api/scopes.ts'
import { addKey, deleteKey, parseKeyFile, parseScopes } from '../admin/key-file.ts'
import { loadConfig } from '../config/load.ts'
import type { Environment } from '../config/overrides.ts'
import { ErrorCode, TunnelMQError } from '../errors.ts'
import { configFile } from './config-flags.ts'
import { parseExpiry } from './expiry.ts'
import { formatTable } from './table.ts'

interface KeyFlags {
  readonly config?: string
  readonly file?: string
}

interface CreateFlags extends KeyFlags {
  readonly scopes: string
  readonly expires?: string
}

const help = `
  tunnelmq api-key create grafana --config /etc/tunnelmq.yaml
  tunnelmq api-key create deploy --scopes read,write --expires 90d --file /etc/tunnelmq/api-keys
  tunnelmq api-key list --file /etc/tunnelmq/api-keys
  tunnelmq api-key delete grafana --file /etc/tunnelmq/api-keys

The file is admin.keysFile of the configuration; a broker that runs reads it again by itself. It holds hashes: the key is
printed once, to standard output. The broker's user must be able to read the file.
Scopes: read (see everything but secrets), write (disconnect, ban, cut, delete), trace (packets of others, why),
identities (make and change who may connect), admin (all).`

/** `tunnelmq api-key`: maintains the file of API keys. */
export function apiKeyCommand(env: Environment): Command {
  const command = new Command('api-key').description('create, list and delete keys of the HTTP API')
  const add = (name: string, text: string): Command =>
    command
      .command(name)
      .description(text)
      .option('-c, --config <file>', 'configuration whose admin.keysFile it is; or TUNNELMQ_CONFIG')
      .option('--file <file>', 'file of keys, without a configuration')
  add('create', 'make a key, and print it')
    .argument('<name>', 'for logs and for deleting it')
    .option('--scopes <list>', `of ${scopes.join(', ')}, with commas between`, 'read')
    .option('--expires <time>', 'after 12h, 30d, 1y, or at 2027-01-31; default: never')
    .action(async (name: string, flags: CreateFlags) => create(name, flags, await fileOf(flags, env)))
  add('list', 'list names, scopes and ends').action(async (flags: KeyFlags) => list(await fileOf(flags, env)))
  add('delete', 'delete a key; exit code 1 if there is none such')
    .argument('<name>', 'of the key')
    .action(async (name: string, flags: KeyFlags) => remove(name, await fileOf(flags, env)))
  return command.addHelpText('after', help)
}

async function fileOf(flags: KeyFlags, env: Environment): Promise<string> {
  if (flags.file !== undefined) return flags.file
  const { config } = await loadConfig({ file: configFile(flags, env), env })
  if (config.admin.keysFile !== undefined) return config.admin.keysFile
  throw usage('the configuration has no admin.keysFile: set it, or name a file with --file')
}

async function create(name: string, flags: CreateFlags, file: string): Promise<void> {
  const fault = keyNameFault(name)
  if (fault !== undefined) throw usage(fault)
  const held = parseScopes(flags.scopes)
  if (typeof held === 'string') throw usage(`--scopes ${flags.scopes}: ${held}`)
  const createdAtMs = Date.now()
  const expiresAtMs = flags.expires === undefined ? undefined : parseExpiry(flags.expires, createdAtMs)
  const text = createKeyText(name)
  await addKey(file, { name, hash: hashKey(text), scopes: held, createdAtMs, expiresAtMs })
  const end = expiresAtMs === undefined ? '' : `, until ${new Date(expiresAtMs).toISOString()}`
  process.stderr.write(
    `key ${name} (${[...held].join(', ')}${end}) added to ${file}; it is shown only now:\n`,
  )
  process.stdout.write(`${text}\n`)
}

async function list(file: string): Promise<void> {
  const nowMs = Date.now()
  const rows = [...(await readKeys(file)).values()].map((key) => [
    key.name,
    [...key.scopes].join(','),
    new Date(key.createdAtMs).toISOString(),
    key.expiresAtMs === undefined ? 'never' : new Date(key.expiresAtMs).toISOString(),
    key.expiresAtMs !== undefined && key.expiresAtMs <= nowMs ? 'expired' : '',
  ])
  process.stdout.write(formatTable(['name', 'scopes', 'created', 'expires', ''], rows))
}

async function remove(name: string, file: string): Promise<void> {
  await readKeys(file)
  if (await deleteKey(file, name)) return void process.stderr.write(`key ${name} deleted from ${file}\n`)
  process.stderr.write(`no key ${name} in ${file}\n`)
  process.exitCode = 1
}

async function readKeys(file: string) {
  try {
    return parseKeyFile(await readFile(file, 'utf8'), file)
  } catch (error) {
    if (error instanceof TunnelMQError) throw error
    const why = error instanceof Error ? error.message : String(error)
    throw new TunnelMQError(ErrorCode.file, `${file}: cannot be read: ${why}`, { cause: error })
  }
}

function usage(message: string): TunnelMQError {
  return new TunnelMQError(ErrorCode.usage, message)
}
