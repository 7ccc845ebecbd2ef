import type { JwtConfig } from '../../config/jwt-schema.ts'
import { ErrorCode, TunnelMQError } from '../../errors.ts'
import type { HandlerLog } from '../log.ts'
import { openRightsFile, type RightsFile, type RightsFileOptions } from '../rights-file.ts'
import { parsePublicKeyFile, secretKeySet, type KeySet } from './key-set.ts'

/** Where keys come from. */
export interface KeySource {
  /** Without secrets: a file, a URL. */
  readonly name: string
  /** Undefined: there are none, or they are too old. */
  current(): KeySet | undefined
  /** A token names a key that is not among them: looks whether there are others now. Undefined: there is no use. */
  renew?(): Promise<void>
  /** The listener runs after a key has gone. */
  onChange(listener: () => void): void
  reload(): Promise<void>
  close(): void
}

export type WatchHow = RightsFileOptions<unknown>['watch']

/** Keys of files and of the configuration itself. Rejects with TMQ_FILE or TMQ_HANDLER. */
export async function openLocalKeys(
  config: JwtConfig,
  log: HandlerLog,
  watch?: WatchHow,
): Promise<KeySource> {
  const { secret, secretFile, secretEncoding, algorithms, publicKeyFiles } = config
  if (secret !== undefined) return fixedKeys(readSecret('secret', ErrorCode.handler, secret, config))
  const how = watch === undefined ? {} : { watch }
  const files = await openAll(
    secretFile === undefined
      ? publicKeyFiles.map(
          (file) => () =>
            openRightsFile({ file, log, parse: (text) => parsePublicKeyFile(text, file), ...how }),
        )
      : [
          () =>
            openRightsFile({
              file: secretFile,
              log,
              parse: (text) =>
                readSecret(secretFile, ErrorCode.file, text.replace(/\r?\n$/, ''), {
                  secretEncoding,
                  algorithms,
                }),
              ...how,
            }),
        ],
  )
  return {
    name: [secretFile ?? publicKeyFiles].flat().join(', '),
    current: () => files.flatMap((file) => file.current),
    onChange: (listener) => files.forEach((file) => file.onChange(listener)),
    async reload() {
      await Promise.all(files.map((file) => file.reload()))
    },
    close: () => files.forEach((file) => file.close()),
  }
}

function fixedKeys(keys: KeySet): KeySource {
  return {
    name: 'the secret',
    current: () => keys,
    onChange: () => undefined,
    reload: () => Promise.resolve(),
    close: () => undefined,
  }
}

function readSecret(
  where: string,
  code: ErrorCode,
  text: string,
  { secretEncoding, algorithms }: Pick<JwtConfig, 'secretEncoding' | 'algorithms'>,
): KeySet {
  try {
    return secretKeySet(text, secretEncoding, algorithms)
  } catch (error) {
    throw new TunnelMQError(code, `jwt: ${where}: ${(error as Error).message}`)
  }
}

/** When one cannot be opened, those before it are closed. */
async function openAll(
  open: readonly (() => Promise<RightsFile<KeySet>>)[],
): Promise<readonly RightsFile<KeySet>[]> {
  const files: RightsFile<KeySet>[] = []
  try {
    for (const openOne of open) files.push(await openOne())
    return files
  } catch (error) {
    for (const file of files) file.close()
    throw error
  }
}
