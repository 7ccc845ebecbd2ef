import { mkdir, writeFile } from 'node:fs/promises'
import { dirname, isAbsolute, join, resolve } from 'node:path'
import { parseConfig } from '../config/load.ts'
import { ConfigError, formatPath } from '../config/mistake.ts'
import { writeYaml } from '../config/yaml.ts'
import { ErrorCode, TunnelMQError } from '../errors.ts'
import type { Draft, Note } from './draft.ts'
import { importMosquitto, type Imported } from './mosquitto.ts'
import { carryRightsFile, importRightsFile, rightsKindOf, type CarriedFile } from './rights-files.ts'
import { readSettings, readText } from './settings.ts'
import { importVernemq } from './vernemq.ts'
import { decideOnTopics } from './vernemq-webhooks.ts'

export type Origin = 'vernemq' | 'mosquitto'

export interface ImportResult {
  /** The configuration file, as YAML. */
  readonly yaml: string
  /** What goes beside it: access lists, password files, passwords of bridges. Names within its folder. */
  readonly files: readonly { readonly name: string; readonly text: string }[]
  /** In the order of the files they are about. */
  readonly notes: readonly Note[]
}

/**
 * Reads the configuration of another broker. Nothing is written. Throws a TunnelMQError (TMQ_FILE) that names file and
 * line when it cannot be read; what cannot be carried over is a note.
 */
export async function importConfig(origin: Origin, file: string): Promise<ImportResult> {
  const imported = await read(origin, file)
  const { draft } = imported
  const base = dirname(resolve(file))
  makeAbsolute(draft.config, base)
  const carried = await carryFiles(imported, origin, base)
  const files = nameFiles(draft, carried)
  noteOpenChain(draft, file)
  await noteMistakes(draft, file)
  for (const rights of carried) pointTo(draft.config, rights.source, rights.name)
  for (const [bridge, name] of files.passwords) setPasswordFile(draft, bridge, `./${name}`)
  const head = `# Made by \`tunnelmq import ${origin}\`. Read its report; check with \`tunnelmq config check\`.\n`
  return { yaml: head + writeYaml(draft.config), files: files.all, notes: draft.notes }
}

async function read(origin: Origin, file: string): Promise<Imported> {
  const kind = rightsKindOf(await readText(file))
  if (kind !== undefined) return importRightsFile(origin, kind, file)
  const settings = await readSettings(file, origin)
  return origin === 'vernemq' ? importVernemq(settings, file) : importMosquitto(settings)
}

/** Writes the result into a new folder, or an empty one. Throws TMQ_FILE when something is there already. */
export async function writeImport({ yaml, files }: ImportResult, folder: string): Promise<string[]> {
  const all = [{ name: 'tunnelmq.yaml', text: yaml }, ...files]
  try {
    await mkdir(folder, { recursive: true, mode: 0o750 })
    for (const { name, text } of all) await writeFile(join(folder, name), text, { mode: 0o640, flag: 'wx' })
  } catch (error) {
    throw new TunnelMQError(ErrorCode.file, `${folder} cannot be written: ${(error as Error).message}`, {
      cause: error,
    })
  }
  return all.map(({ name }) => join(folder, name))
}

interface NamedFile extends CarriedFile {
  readonly name: string
}

async function carryFiles(
  { draft, rightsFiles }: Imported,
  origin: Origin,
  base: string,
): Promise<NamedFile[]> {
  const carried: NamedFile[] = []
  const counts = { acl: 0, passwords: 0 }
  for (const { kind, source } of rightsFiles) {
    const absolute = resolve(base, source)
    const file = await carryRightsFile({ kind, source: absolute }, origin, draft)
    const name = kind === 'acl' ? 'acl' : 'passwords'
    const count = ++counts[kind]
    // A list that is not there stays in the chain: without it everybody might do everything.
    if (file !== undefined)
      carried.push({ ...file, name: count === 1 ? `${name}.txt` : `${name}-${count}.txt` })
  }
  return carried
}

function nameFiles(draft: Draft, carried: readonly NamedFile[]) {
  const passwords = [...draft.bridgePasswords].map(
    ([bridge]) => [bridge, `bridge-${bridge}.password`] as const,
  )
  const all = [
    ...carried.map(({ name, text }) => ({ name, text })),
    ...passwords.map(([bridge, name]) => ({ name, text: `${draft.bridgePasswords.get(bridge)}\n` })),
  ]
  return { all, passwords }
}

function setPasswordFile(draft: Draft, bridge: string, file: string): void {
  const found = draft.config.bridges.find(({ name }) => name === bridge)
  if (found !== undefined) found.passwordFile = file
}

const pluginKey = /^(plugin|auth_plugin|plugins\.|vmq_webhooks\.|vmq_diversity\.)/

/** Where a plugin had said who may do what, the password file alone would let everyone with a password do everything. */
function noteOpenChain(draft: Draft, file: string): void {
  const hadPlugin = draft.notes.some(({ effect, key }) => effect === 'lost' && pluginKey.test(key))
  const isOpen = handlerLists(draft.config).some(
    (chain) => chain.length > 0 && !chain.some(({ type }) => type === 'acl-file') && !decideOnTopics(chain),
  )
  if (hadPlugin && isOpen)
    draft.note(
      'lost',
      { key: 'handlers', file, line: 0 },
      'the plugin that is gone may have said who may do what: without an acl-file everyone with a password may do everything',
    )
}

/** What our own check of configurations finds is better known now than at the start. */
async function noteMistakes(draft: Draft, file: string): Promise<void> {
  try {
    const { warnings } = await parseConfig(structuredClone(draft.config))
    for (const { path, message } of warnings)
      draft.note('changed', { key: formatPath(path), file, line: 0 }, message)
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error
    for (const { path, message } of error.mistakes)
      draft.note(
        'lost',
        { key: formatPath(path), file, line: 0 },
        `the new configuration is not complete: ${message}`,
      )
  }
}

const fileKeys = new Set(['file', 'cert', 'key', 'clientCa', 'ca', 'path'])

/** Paths of the other broker start from its folder. */
function makeAbsolute(value: unknown, base: string): void {
  if (Array.isArray(value)) for (const item of value) makeAbsolute(item, base)
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return
  for (const [key, inner] of Object.entries(value)) {
    if (key === 'files' && Array.isArray(inner))
      Object.assign(value, { files: inner.map((file: unknown) => resolve(base, String(file))) })
    else if (typeof inner === 'string' && fileKeys.has(key) && !isAbsolute(inner))
      Object.assign(value, { [key]: resolve(base, inner) })
    else makeAbsolute(inner, base)
  }
}

function handlerLists(config: Draft['config']): NonNullable<Draft['config']['handlers']>[] {
  return [config.handlers, ...config.listeners.map(({ handlers }) => handlers)].filter(
    (list) => list !== undefined,
  )
}

function pointTo(config: Draft['config'], from: string, name: string): void {
  for (const handler of handlerLists(config).flat())
    if ('file' in handler && handler.file === from) handler.file = `./${name}`
}
