/** Requests to the API, and what is said of their failure. */

/** The broker's own answers are small; a pod that is silent costs it `admin.podTimeoutMs` (3 s). */
const TIMEOUT_MS = 10_000

/** An answer that is an error (RFC 9457), or none: then `status` is 0. */
export class ApiError extends Error {
  /**
   * @param {string} message
   * @param {{ status: number, retryAfterMs?: number, cause?: unknown }} fields
   */
  constructor(message, { status, retryAfterMs = 0, cause }) {
    super(message, { cause })
    this.name = 'ApiError'
    this.status = status
    this.retryAfterMs = retryAfterMs
  }

  /** Nobody answered, or a proxy in the broker's place. */
  get isAway() {
    return this.status === 0 || this.status === 502 || this.status === 504
  }
}

/**
 * @typedef {object} RequestOptions
 * @property {Record<string, string | number | boolean | undefined>} [query]
 * @property {unknown} [body]  sent as JSON
 * @property {number | undefined} [revision]  of what is changed: refused (412) when it has another one by now
 * @property {AbortSignal} [signal]
 * @property {number} [waitMs]  for which the broker may hold the answer
 *
 * @typedef {(method: string, path: string, options?: RequestOptions) => Promise<any>} Send
 *
 * @typedef {object} RequesterHooks
 * @property {() => string} keyOf
 * @property {(missingPods: string[], path: string) => void} answered
 * @property {(error: ApiError) => void} failed
 */

/**
 * @param {RequesterHooks} hooks
 * @returns {Send} resolves with the body, undefined for none; rejects with an ApiError, or when its signal says so
 */
export function createRequester({ keyOf, answered, failed }) {
  return async (method, path, options = {}) => {
    try {
      const response = await send(keyOf(), method, path, options)
      const body = await bodyOf(response)
      if (!response.ok) throw errorOf(response, body)
      const missing = response.headers.get('x-tunnelmq-missing-pods')
      if (method === 'GET') answered(missing ? missing.split(',').map((pod) => pod.trim()) : [], path)
      return body
    } catch (error) {
      if (error instanceof ApiError) failed(error)
      throw error
    }
  }
}

/** @param {string} key @param {string} method @param {string} path @param {RequestOptions} options */
async function send(key, method, path, { query = {}, body, revision, signal, waitMs = 0 }) {
  // Relative, so that the page also works under a path of a proxy.
  const url = new URL(`api/v1${path}`, document.baseURI)
  for (const [name, value] of Object.entries(query)) {
    if (value !== undefined && value !== '') url.searchParams.set(name, String(value))
  }
  const timeout = AbortSignal.timeout(TIMEOUT_MS + waitMs)
  try {
    return await fetch(url, {
      method,
      headers: {
        authorization: `Bearer ${key}`,
        accept: 'application/json, application/problem+json',
        ...(body !== undefined && { 'content-type': 'application/json' }),
        ...(revision !== undefined && { 'if-match': `"${revision}"` }),
      },
      ...(body !== undefined && { body: JSON.stringify(body) }),
      signal: signal ? AbortSignal.any([signal, timeout]) : timeout,
      cache: 'no-store',
      credentials: 'omit',
      redirect: 'error',
    })
  } catch (error) {
    if (signal?.aborted) throw error
    const reason = timeout.aborted ? 'The broker did not answer in time.' : 'The broker cannot be reached.'
    throw new ApiError(reason, { status: 0, cause: error })
  }
}

/** @param {Response} response */
async function bodyOf(response) {
  const text = await response.text()
  if (text === '') return undefined
  try {
    return JSON.parse(text)
  } catch (error) {
    if (!response.ok) return undefined
    throw new ApiError('The answer is not JSON: is there a proxy in between?', { status: 502, cause: error })
  }
}

/** @param {Response} response @param {any} problem */
function errorOf(response, problem) {
  const told = problem?.detail ?? problem?.title ?? `HTTP ${response.status}`
  const retryAfter = Number(response.headers.get('retry-after') ?? 0)
  return new ApiError(String(told), { status: response.status, retryAfterMs: retryAfter * 1_000 || 0 })
}
