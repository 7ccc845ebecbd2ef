import { readFile } from 'node:fs/promises'
import type { Config } from '../../config/schema.ts'
import { ErrorCode, TunnelMQError } from '../../errors.ts'

/** The key that a broker has left for commands on its machine (admin/local-key.ts), as far as it is there. */
export interface LocalKeyFile {
  readonly text?: string
  /** Where the broker is, and its process. */
  readonly url?: URL
  readonly pid?: number
  /** Why there is no key. */
  readonly reason: string
}

/** Never rejects. */
export async function readLocalKey(file: string): Promise<LocalKeyFile> {
  try {
    const text = await readFile(file, 'utf8')
    const [, url = '', pid = ''] = /^# (\S+) of process (\d+)/m.exec(text) ?? []
    return {
      text,
      reason: '',
      ...(URL.canParse(url) && { url: reachable(new URL(url)) }),
      ...(pid !== '' && { pid: Number(pid) }),
    }
  } catch (error) {
    return { reason: whyNot(file, error) }
  }
}

function whyNot(file: string, error: unknown): string {
  return (error as NodeJS.ErrnoException).code === 'EACCES'
    ? `${file} is for the user who runs the broker, and for root: run this as one of them.`
    : `${file} is not there: the broker writes it when it starts, if admin.localKey is on. ` +
        'Is it running on this machine, and is this its configuration (--config)?'
}

/** Where the configuration puts the admin server. Throws TMQ_USAGE. */
export function configuredUrl({ admin }: Config): URL {
  const where = 'name the broker with --api-url URL or TUNNELMQ_API_URL, or its configuration with --config'
  if (!admin.enabled)
    throw new TunnelMQError(ErrorCode.usage, `admin.enabled is off in this configuration: ${where}`)
  if (admin.port === 0)
    throw new TunnelMQError(ErrorCode.usage, `admin.port is 0, so the port is not known here: ${where}`)
  const host = admin.host.includes(':') ? `[${admin.host}]` : admin.host
  return reachable(new URL(`${admin.tls === undefined ? 'http' : 'https'}://${host}:${admin.port}`))
}

/** One can listen on all addresses, but not connect to them. */
function reachable(url: URL): URL {
  const local = new URL(url)
  if (url.hostname === '0.0.0.0') local.hostname = '127.0.0.1'
  if (url.hostname === '[::]') local.hostname = '[::1]'
  return local
}
