import { ApiError } from './problem.ts'

/** Reads no more than it may. Rejects with an ApiError of status 413, 415 or 400. */
export async function readJsonBody(request: Request, maxBytes: number): Promise<unknown> {
  const bytes = await readBytes(request, maxBytes)
  if (bytes.length === 0) return undefined
  const type = request.headers.get('content-type')?.split(';')[0]?.trim().toLowerCase()
  if (type !== 'application/json') {
    const found = type === undefined ? 'has no content-type' : `is ${type}`
    throw new ApiError(415, `The body ${found}; it must be application/json.`)
  }
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes))
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error)
    throw new ApiError(400, `The body is no JSON: ${why}`, { cause: error })
  }
}

async function readBytes(request: Request, maxBytes: number): Promise<Buffer> {
  // What is announced too large is not even begun with.
  if (Number(request.headers.get('content-length') ?? 0) > maxBytes) throw tooLarge(maxBytes)
  if (request.body === null) return Buffer.alloc(0)
  const chunks: Uint8Array[] = []
  let length = 0
  const reader = (request.body as ReadableStream<Uint8Array>).getReader()
  for (;;) {
    const { done, value } = await reader.read().catch((error: unknown) => {
      throw new ApiError(400, 'The body ended too early.', { cause: error })
    })
    if (done) return Buffer.concat(chunks)
    length += value.byteLength
    if (length > maxBytes) {
      await reader.cancel().catch(() => undefined)
      throw tooLarge(maxBytes)
    }
    chunks.push(value)
  }
}

function tooLarge(maxBytes: number): ApiError {
  // The rest of it is not read, so the connection is of no use for a next request.
  const headers = { connection: 'close' }
  return new ApiError(413, `The body is larger than ${maxBytes} bytes (admin.maxBodyBytes).`, { headers })
}
