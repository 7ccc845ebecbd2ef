import { X509Certificate } from 'node:crypto'
import { constants } from 'node:fs'
import { access, readFile, stat } from 'node:fs/promises'
import { dirname, resolve } from 'node:path'
import { tlsOf } from './listener-tls.ts'
import type { ConfigPath, Mistake } from './mistake.ts'
import type { ClientTls } from './client-tls-schema.ts'
import type { Config, HandlerConfig } from './schema.ts'
import { isRecord, propertiesOf, type SchemaNode } from './schema-tree.ts'

/** A copy with every file path made absolute; `folderOf` says what a relative one starts from. */
export function resolveFiles(
  config: Config,
  root: SchemaNode,
  folderOf: (path: ConfigPath) => string,
): Config {
  return mapFiles(config, root, [], (file, path) => resolve(folderOf(path), file)) as Config
}

/** The files that are read at the start and are not there, or may not be read. */
export async function checkFiles(config: Config): Promise<readonly Mistake[]> {
  const wanted: { path: ConfigPath; file: string }[] = []
  const want = (path: ConfigPath, file: string | undefined): void => {
    if (file !== undefined) wanted.push({ path, file })
  }
  for (const [index, listener] of config.listeners.entries()) {
    const at: ConfigPath = ['listeners', index]
    const tls = tlsOf(listener)
    want([...at, 'tls', 'cert'], tls?.cert)
    want([...at, 'tls', 'key'], tls?.key)
    want([...at, 'tls', 'clientCa'], tls?.clientCa)
    for (const [entry, handler] of (listener.handlers ?? []).entries())
      for (const [keys, file] of handlerFiles(handler)) want([...at, 'handlers', entry, ...keys], file)
    for (const [entry, { file }] of listener.interceptors.entries())
      want([...at, 'interceptors', entry, 'file'], file)
  }
  for (const [index, handler] of config.handlers.entries())
    for (const [keys, file] of handlerFiles(handler)) want(['handlers', index, ...keys], file)
  if (config.store.type === 'redis') {
    const { ca, cert, key } = config.store.redis.tls ?? {}
    want(['store', 'redis', 'tls', 'ca'], ca)
    want(['store', 'redis', 'tls', 'cert'], cert)
    want(['store', 'redis', 'tls', 'key'], key)
  }
  for (const [index, { passwordFile, tls = {} }] of config.bridges.entries()) {
    want(['bridges', index, 'passwordFile'], passwordFile)
    const { ca, cert, key }: { ca?: string; cert?: string; key?: string } = tls
    want(['bridges', index, 'tls', 'ca'], ca)
    want(['bridges', index, 'tls', 'cert'], cert)
    want(['bridges', index, 'tls', 'key'], key)
  }
  const files = wanted.map(async ({ path, file }) => problem(path, await whyUnreadable(file)))
  const folders = config.listeners.map(async (listener, index) => {
    if (listener.type !== 'unix') return []
    return problem(['listeners', index, 'path'], await whyNoFolder(dirname(listener.path)))
  })
  return (await Promise.all([...files, ...folders])).flat()
}

/** Where in a handler's configuration a file is named, and which. */
function handlerFiles(handler: HandlerConfig): (readonly [ConfigPath, string | undefined])[] {
  switch (handler.type) {
    case 'anonymous':
    case 'dynamic':
      return []
    case 'password-file':
    case 'acl-file':
    case 'module':
      return [[['file'], handler.file]]
    case 'scram':
      return [
        [['file'], handler.file],
        [['secretFile'], handler.secretFile],
      ]
    case 'jwt':
      return [
        ...handler.publicKeyFiles.map((file, index) => [['publicKeyFiles', index], file] as const),
        [['secretFile'], handler.secretFile],
        ...tlsFiles(handler.tls),
      ]
    case 'http':
      return tlsFiles(handler.tls)
    case 'certificate': {
      const lists = handler.revocation.crl.files
      return [
        [['fingerprints'], handler.fingerprints],
        [['ca'], handler.ca],
        ...lists.map((file, index) => [['revocation', 'crl', 'files', index], file] as const),
      ]
    }
    default:
      return handler satisfies never
  }
}

function tlsFiles({ ca, cert, key }: ClientTls = {}): (readonly [ConfigPath, string | undefined])[] {
  return [
    [['tls', 'ca'], ca],
    [['tls', 'cert'], cert],
    [['tls', 'key'], key],
  ]
}

/** Certificates of listeners that clients will not take: allowed, as clocks and certificates may be put right. */
export async function warnOfCertificates(config: Config, nowMs = Date.now()): Promise<readonly Mistake[]> {
  const found = config.listeners.map(async (listener, index) => {
    const tls = tlsOf(listener)
    if (tls === undefined) return []
    const message = await whyNotValid(tls.cert, nowMs)
    return problem(['listeners', index, 'tls', 'cert'], message)
  })
  return (await Promise.all(found)).flat()
}

async function whyNotValid(file: string, nowMs: number): Promise<string | undefined> {
  let certificate: X509Certificate
  try {
    certificate = new X509Certificate(await readFile(file))
  } catch {
    return undefined // the listener says what is wrong with it, when it is opened
  }
  const { validFrom, validTo } = certificate
  if (Date.parse(validTo) < nowMs) return `${file} has expired on ${validTo}: clients will refuse it`
  if (Date.parse(validFrom) > nowMs) return `${file} is valid from ${validFrom} on: is the clock right?`
  return undefined
}

function problem(path: ConfigPath, message: string | undefined): Mistake[] {
  return message === undefined ? [] : [{ path, message }]
}

async function whyUnreadable(file: string): Promise<string | undefined> {
  try {
    await access(file, constants.R_OK)
    return (await stat(file)).isDirectory() ? `${file} is a folder, not a file` : undefined
  } catch (error) {
    return `${file} ${reason(error)}`
  }
}

async function whyNoFolder(folder: string): Promise<string | undefined> {
  try {
    return (await stat(folder)).isDirectory() ? undefined : `${folder} is not a folder`
  } catch (error) {
    return `folder ${folder} ${reason(error)}`
  }
}

function reason(error: unknown): string {
  const code = (error as NodeJS.ErrnoException).code
  if (code === 'ENOENT') return 'does not exist'
  if (code === 'EACCES') return 'may not be read by this user'
  return `cannot be read (${code ?? String(error)})`
}

function mapFiles(
  value: unknown,
  node: SchemaNode | undefined,
  path: ConfigPath,
  change: (file: string, path: ConfigPath) => string,
): unknown {
  if (node === undefined) return value
  if (node.filePath && typeof value === 'string') return change(value, path)
  if (Array.isArray(value) && node.kind === 'list')
    return value.map((item, index) => mapFiles(item, node.items, [...path, index], change))
  if (!isRecord(value)) return value
  const properties = propertiesOf(node, value)
  const entries = Object.entries(value)
  return Object.fromEntries(
    entries.map(([key, inner]) => [key, mapFiles(inner, properties.get(key), [...path, key], change)]),
  )
}
