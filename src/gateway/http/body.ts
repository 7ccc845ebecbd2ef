import type { IncomingMessage } from 'node:http'
import { HttpProblem } from './problem.ts'

export interface BodyBounds {
  readonly maxBytes: number
  readonly timeoutMs: number
}

/** What the head says of the body, before anybody is let in or a byte of it is read. @throws {HttpProblem} */
export function checkBodyHead({ headers }: IncomingMessage, { maxBytes }: BodyBounds): void {
  const encoding = headers['content-encoding']
  if (encoding !== undefined && encoding.toLowerCase() !== 'identity')
    throw new HttpProblem(415, 'the body must not be compressed: it is the payload as it is')
  if (Number(headers['content-length'] ?? 0) > maxBytes) throw tooLarge(maxBytes)
}

/**
 * The whole body. Rejects with 413, 408 or 400; the rest of it is not kept, and the connection is of no more use.
 */
export function readBody(request: IncomingMessage, { maxBytes, timeoutMs }: BodyBounds): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = []
    let bytes = 0
    const done = (act: () => void): void => {
      clearTimeout(timer)
      request.off('data', data).off('end', end).off('close', close)
      act()
    }
    const data = (chunk: Buffer): void => {
      bytes += chunk.length
      if (bytes > maxBytes) done(() => reject(tooLarge(maxBytes)))
      else chunks.push(chunk)
    }
    const end = (): void => done(() => resolve(Buffer.concat(chunks, bytes)))
    const close = (): void => done(() => reject(new HttpProblem(400, 'the body is not complete')))
    const late = (): void => done(() => reject(new HttpProblem(408, `no body within ${timeoutMs} ms`)))
    const timer = setTimeout(late, timeoutMs)
    request.on('data', data).on('end', end).on('close', close)
  })
}

function tooLarge(maxBytes: number): HttpProblem {
  return new HttpProblem(413, `at most ${maxBytes} bytes`)
}

/** Bytes and time that a refused body may go on: bytes left unread would turn the close into a reset. */
const LINGER_BYTES = 1_048_576
const LINGER_MS = 1_000

/** Throws away what still comes of a body, for a while; the answer is written already. */
export function throwAway(request: IncomingMessage): Promise<void> {
  if (request.readableEnded || request.destroyed) return Promise.resolve()
  return new Promise((resolve) => {
    let bytes = 0
    const done = (): void => {
      clearTimeout(timer)
      request.off('data', data).off('end', done).off('close', done)
      resolve()
    }
    const data = (chunk: Buffer): void => {
      bytes += chunk.length
      if (bytes > LINGER_BYTES) done()
    }
    const timer = setTimeout(done, LINGER_MS)
    request.on('data', data).on('end', done).on('close', done)
    request.resume()
  })
}
