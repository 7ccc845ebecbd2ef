import type { IncomingMessage, ServerResponse } from 'node:http'
import { ALLOW } from './problem.ts'

/** What the pages of other origins may do, by the list of the configuration (https://fetch.spec.whatwg.org, 3.3). */
export interface Cors {
  /**
   * Sets the headers of an answer. False: a page of an origin that is not allowed sent the request. Its browser may have
   * added credentials of its own, of which the page knows nothing: it must have no effect.
   */
  allow(request: IncomingMessage, response: ServerResponse): boolean
  /** Headers of the answer to a preflight, beside those of `allow`. */
  preflight(request: IncomingMessage, response: ServerResponse): void
}

const PREFLIGHT_SECONDS = 600

export function createCors(allowedOrigins: readonly string[]): Cors {
  const allowed = new Set(allowedOrigins)
  const isAllowed = (origin: string): 'listed' | 'any' | undefined => {
    if (allowed.has(origin)) return 'listed'
    return allowed.has('*') ? 'any' : undefined
  }
  return {
    allow(request, response) {
      if (allowed.size > 0) response.appendHeader('Vary', 'Origin')
      const { origin } = request.headers
      if (origin === undefined) return isAllowedWithout(request, allowed)
      switch (isAllowed(origin)) {
        case 'listed':
          response.setHeader('Access-Control-Allow-Origin', origin)
          response.setHeader('Access-Control-Allow-Credentials', 'true')
          return true
        case 'any':
          // Never with credentials: scripts of any page would have those that the browser keeps.
          response.setHeader('Access-Control-Allow-Origin', '*')
          return true
        default:
          return isOwn(origin, request)
      }
    },
    preflight(request, response) {
      const { origin } = request.headers
      if (origin === undefined || isAllowed(origin) === undefined) return
      response.setHeader('Access-Control-Allow-Methods', ALLOW)
      response.setHeader('Access-Control-Allow-Headers', 'Authorization, Content-Type')
      response.setHeader('Access-Control-Max-Age', String(PREFLIGHT_SECONDS))
    },
  }
}

/**
 * What browsers send for a page of another origin without naming it, images and links for example, says so all the same
 * (https://www.w3.org/TR/fetch-metadata/): such a request would read, or take over a client id.
 */
function isAllowedWithout({ headers }: IncomingMessage, allowed: ReadonlySet<string>): boolean {
  const site = headers['sec-fetch-site']
  return (site !== 'cross-site' && site !== 'same-site') || allowed.has('*')
}

/** A page that was got from here, through a proxy perhaps: same host and port. */
function isOwn(origin: string, { headers: { host = '' } }: IncomingMessage): boolean {
  return URL.canParse(origin) && new URL(origin).host === host.toLowerCase()
}
