import { open, rm, type FileHandle } from 'node:fs/promises'
import { resolve } from 'node:path'
import { nameFault } from '../../config/tunnel-endpoint-syntax.ts'
import { writeYaml } from '../../config/yaml.ts'
import { ErrorCode, TunnelMQError } from '../../errors.ts'
import { printable } from '../table.ts'
import type { BundleBroker } from './bundle-broker.ts'

/** What a device has to know. */
export interface BundleFacts {
  readonly name: string
  readonly clientId: string
  readonly secret: string
  /** As they are written: a target alone, or with its settings. */
  readonly services: Readonly<Record<string, string | object>>
  readonly broker: BundleBroker
}

/** A configuration for `tunnelmq agent --config`, with what a person has to know of it above. */
export function bundleText({ name, clientId, secret, services, broker }: BundleFacts, now: Date): string {
  const { url, caPem, others } = broker
  const head = [
    `${printable(name)}, made by \`tunnelmq identity\` at ${now.toISOString()}.`,
    'Holds a secret: keep it from others (chmod 600). On the device:',
    '  tunnelmq agent --config THIS-FILE',
    'Other MQTT clients take broker, id (the client id), username and password from here: docs/identities.md.',
    ...(others.length === 0 ? [] : [`The broker is also at: ${others.join(' ')}`]),
  ]
  const config = {
    id: clientId,
    broker: url,
    username: name,
    password: secret,
    ...(caPem !== undefined && { tls: { caPem } }),
    services,
  }
  return `${head.map((line) => `# ${line}\n`).join('')}${writeYaml(config)}`
}

/** Where a bundle goes. Nothing is made for a device before its file can be written. */
export interface BundlePlace {
  /** Undefined: standard output. */
  readonly file: string | undefined
  write(text: string): Promise<void>
  /** Nothing came of it. */
  abandon(): Promise<void>
}

/** `wanted`: a file, `-` for standard output, or true for one with the name of the identity. TMQ_USAGE, TMQ_FILE. */
export async function reserveBundle(wanted: string | true, name: string): Promise<BundlePlace> {
  if (wanted === '-') {
    return {
      file: undefined,
      write: async (text) => void process.stdout.write(text),
      abandon: async () => undefined,
    }
  }
  if (wanted === true && nameFault(name) !== undefined)
    throw new TunnelMQError(ErrorCode.usage, `${printable(name)} is no name for a file: --bundle FILE`)
  const file = resolve(wanted === true ? `${name}.yaml` : wanted)
  const handle = await create(file)
  return {
    file,
    async write(text) {
      try {
        await handle.writeFile(text)
        await handle.sync()
      } finally {
        await handle.close()
      }
    },
    async abandon() {
      await handle.close().catch(() => undefined)
      await rm(file, { force: true })
    },
  }
}

/** For its owner alone from the first moment; never over what is there. */
async function create(file: string): Promise<FileHandle> {
  try {
    return await open(file, 'wx', 0o600)
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    const reason =
      code === 'EEXIST'
        ? 'is there already, and is not overwritten'
        : `cannot be made (${code ?? String(error)})`
    throw new TunnelMQError(ErrorCode.file, `--bundle: ${file} ${reason}`, { cause: error })
  }
}
