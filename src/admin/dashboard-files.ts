import { createHash } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { extname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Env, Hono } from 'hono'

interface DashboardFile {
  readonly body: Uint8Array<ArrayBuffer>
  readonly type: string
  readonly etag: string
}

const types: Readonly<Record<string, string>> = {
  '.html': 'text/html; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.svg': 'image/svg+xml',
  '.png': 'image/png',
  '.ico': 'image/x-icon',
  '.json': 'application/json',
}

/** Nothing from elsewhere, nothing inline, no frames around it, no forms sent. */
const CONTENT_SECURITY_POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

/**
 * Serves the files of the dashboard at `/` and `/dashboard/*`. They are read once, here, and served from memory: a path of
 * a request is a key of this map, and never one of the file system.
 */
export function serveDashboard<Types extends Env>(app: Hono<Types>, folder = dashboardFolder()): void {
  const files = readFiles(folder)
  const answer = (name: string, request: Request): Response | undefined => {
    const file = files.get(name)
    if (file === undefined) return undefined
    const headers = {
      'content-type': file.type,
      'content-security-policy': CONTENT_SECURITY_POLICY,
      etag: file.etag,
      // Kept, and asked for each time whether it is still the same: a new version is seen at once.
      'cache-control': 'no-cache',
    }
    const known = request.headers.get('if-none-match')?.split(',') ?? []
    if (known.some((tag) => tag.trim().replace(/^W\//, '') === file.etag))
      return new Response(null, { status: 304, headers })
    return new Response(file.body, { headers })
  }
  app.get('/', ({ req, notFound }) => answer('index.html', req.raw) ?? notFound())
  app.get('/dashboard/*', ({ req, notFound }) => {
    return answer(req.path.slice('/dashboard/'.length), req.raw) ?? notFound()
  })
}

function dashboardFolder(): string {
  return fileURLToPath(new URL('dashboard/', import.meta.url))
}

function readFiles(folder: string): Map<string, DashboardFile> {
  const files = new Map<string, DashboardFile>()
  for (const entry of readdirSync(folder, { recursive: true, withFileTypes: true })) {
    const type = types[extname(entry.name)]
    if (!entry.isFile() || type === undefined) continue
    const path = join(entry.parentPath, entry.name)
    const body = new Uint8Array(readFileSync(path))
    const etag = `"${createHash('sha256').update(body).digest('base64url').slice(0, 22)}"`
    files.set(path.slice(folder.length).replaceAll('\\', '/').replace(/^\//, ''), { body, type, etag })
  }
  return files
}
