import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createKeyText, hashKey } from '../../src/admin/api-key.ts'
import { addKey } from '../../src/admin/key-file.ts'
import { scopes, type Scope } from '../../src/admin/api/scopes.ts'

/** A key of each scope, named as the scope, in a file of their own. */
export interface ApiKeys {
  readonly file: string
  readonly of: Readonly<Record<Scope, string>>
  add(name: string, held: readonly Scope[], expiresAtMs?: number): Promise<string>
  remove(): Promise<void>
}

export async function createApiKeys(): Promise<ApiKeys> {
  const folder = await mkdtemp(join(tmpdir(), 'tmq-keys-'))
  const file = join(folder, 'keys')
  async function add(name: string, held: readonly Scope[], expiresAtMs?: number): Promise<string> {
    const text = createKeyText(name)
    const hash = hashKey(text)
    await addKey(file, { name, hash, scopes: new Set(held), createdAtMs: Date.now(), expiresAtMs })
    return text
  }
  const of: Partial<Record<Scope, string>> = {}
  for (const scope of scopes) of[scope] = await add(scope, [scope])
  return {
    file,
    of: of as Record<Scope, string>,
    add,
    remove: () => rm(folder, { recursive: true, force: true }),
  }
}

export interface ApiAnswer {
  readonly status: number
  readonly headers: Headers
  /** JSON, or undefined when there is none. */
  readonly body: unknown
}

export interface ApiRequest {
  readonly key?: string | undefined
  readonly body?: unknown
  readonly headers?: Readonly<Record<string, string>>
}

/** `path` behind /api/v1, with its query. */
export type AskApi = (method: string, path: string, request?: ApiRequest) => Promise<ApiAnswer>

/** Asks that server; `key` unless the request has its own. */
export function askApi(adminUrl: string | undefined, key?: string): AskApi {
  return async (method, path, request = {}) => {
    const used = 'key' in request ? request.key : key
    const response = await fetch(`${adminUrl}/api/v1${path}`, {
      method,
      headers: {
        ...(used !== undefined && { authorization: `Bearer ${used}` }),
        ...(request.body !== undefined && { 'content-type': 'application/json' }),
        ...request.headers,
      },
      ...(request.body !== undefined && { body: JSON.stringify(request.body) }),
    })
    const text = await response.text()
    const isJson = text !== '' && response.headers.get('content-type')?.includes('json') === true
    return { status: response.status, headers: response.headers, body: isJson ? JSON.parse(text) : undefined }
  }
}
