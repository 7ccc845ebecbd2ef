import type { HttpClient } from '../http-client.ts'

export interface PostBody {
  readonly bytes: Uint8Array
  readonly contentType: string
}

/** GET, or POST with a body. The body of a 200; rejects with an error whose message is for the log. */
export type Ask = (url: string, body?: PostBody) => Promise<Buffer>

export function askingBy(client: HttpClient): Ask {
  return async (url, body) => {
    const answer = await client.request(new URL(url), {
      method: body === undefined ? 'GET' : 'POST',
      headers: { accept: '*/*', ...(body && { 'content-type': body.contentType }) },
      ...(body && { body: body.bytes }),
    })
    // Redirects are not followed: they may lead to hosts that nobody has allowed.
    if (answer.status !== 200) throw new Error(`HTTP status ${answer.status}`)
    return answer.body
  }
}

/**
 * Whether a URL of a certificate leads to a host of the list. Certificates come from our CA, which may sign what others
 * have written: without a list they could have the broker ask hosts that only it can reach.
 */
export function isAllowedUrl(url: string, allowedHosts: readonly string[]): boolean {
  if (!URL.canParse(url)) return false
  const { protocol, host, username, password } = new URL(url)
  // `host` of a URL has no port where it is 80.
  return (
    protocol === 'http:' &&
    username === '' &&
    password === '' &&
    allowedHosts.some((allowed) => allowed.toLowerCase().replace(/:80$/, '') === host)
  )
}
