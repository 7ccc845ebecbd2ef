import { randomBytes } from 'node:crypto'
import { mkdir, readFile, readdir, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { ErrorCode, TunnelMQError } from '../errors.ts'
import { hashPassword } from '../hooks/password-hash.ts'
import { createAuthority } from './certificate.ts'
import {
  gatewayFiles,
  serverNames,
  templateValues,
  type GatewayKind,
  type GatewayNames,
  type GatewaySecrets,
  type ServiceNames,
} from './gateway-plan.ts'
import { createWireguardKeys } from './wireguard-keys.ts'

/** Beside `src` and `dist`, also in the package. */
const templates = fileURLToPath(new URL('../../deploy/gateway/', import.meta.url))

/** For a password that nobody types: 192 bits, base64url. */
const PASSWORD_BYTES = 24
const PRESHARED_KEY_BYTES = 32

export interface GatewayOrder {
  readonly kind: GatewayKind
  readonly names: GatewayNames
  /** With `kind: 'service'`. */
  readonly service?: ServiceNames | undefined
  /** A folder that is not there yet, or empty. */
  readonly folder: string
}

/**
 * Writes a folder for each machine, with everything that it needs; nobody else can read them.
 * @throws {TunnelMQError} TMQ_FILE: something is there already, or cannot be written.
 */
export async function writeGateway({ kind, names, service, folder }: GatewayOrder): Promise<void> {
  await refuseToOverwrite(folder)
  const secrets = await createSecrets(kind, names)
  const values = templateValues(names, secrets, service)
  const files = await Promise.all(
    gatewayFiles(kind, secrets).map(async ({ path, content }) => {
      const text = 'text' in content ? content.text : await render(content.template, values)
      return { path: join(folder, path), text }
    }),
  )
  try {
    for (const { path, text } of files) {
      await mkdir(dirname(path), { recursive: true, mode: 0o700 })
      await writeFile(path, text, { flag: 'wx', mode: path.endsWith('/install') ? 0o700 : 0o600 })
    }
  } catch (error) {
    throw fileError(folder, error)
  }
}

/** A template of deploy/gateway, with a value for every word between two `@`. */
async function render(template: string, values: Readonly<Record<string, string>>): Promise<string> {
  const text = await readFile(join(templates, template), 'utf8').catch((error: unknown) => {
    throw fileError(join(templates, template), error)
  })
  return text.replaceAll(/@([A-Z0-9_]+)@/g, (word, name: string) => {
    const value = values[name]
    if (value === undefined) throw new Error(`deploy/gateway/${template} has ${word}, which nobody fills in`)
    return value
  })
}

async function refuseToOverwrite(folder: string): Promise<void> {
  let entries: string[]
  try {
    entries = await readdir(folder)
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return
    throw fileError(folder, error)
  }
  if (entries.length > 0)
    throw new TunnelMQError(
      ErrorCode.file,
      `${folder}: is not empty, and its keys may be in use; name another folder with --out, or remove this one`,
    )
}

async function createSecrets(kind: GatewayKind, names: GatewayNames): Promise<GatewaySecrets> {
  const [agentPassword, userPassword] = [createPassword(), createPassword()]
  const authority = await createAuthority(`TunnelMQ gateway ${names.domain ?? names.vmAddress}`)
  return {
    presharedKey: randomBytes(PRESHARED_KEY_BYTES).toString('base64'),
    vmKeys: createWireguardKeys(),
    pi0Keys: createWireguardKeys(),
    agentPassword,
    agentHash: await hashPassword(Buffer.from(agentPassword)),
    userPassword,
    userHash: await hashPassword(Buffer.from(userPassword)),
    authority,
    server: await authority.sign(serverNames(kind, names)),
  }
}

function createPassword(): string {
  return randomBytes(PASSWORD_BYTES).toString('base64url')
}

function fileError(path: string, error: unknown): TunnelMQError {
  const why = error instanceof Error ? error.message : String(error)
  return new TunnelMQError(ErrorCode.file, `${path}: ${why}`, { cause: error })
}
