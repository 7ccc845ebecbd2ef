import type { Readable, Writable } from 'node:stream'
import { finished } from 'node:stream/promises'
import type { TunnelStream } from './endpoint/tunnel-stream.ts'

export interface StdioOptions {
  readonly input: Readable
  readonly output: Writable
  /**
   * Tells the reader of `output` that nothing follows: `process.stdout` cannot be ended, so that whoever has it closes
   * its descriptor. Without this `output` is ended.
   */
  closeOutput?(): void
  /** The program is to end: what comes is dropped from then on, and the stream ends in order, or is reset. */
  readonly leave?: AbortSignal
  /** For an orderly end, once the reader of `output` is gone or `leave` was said. Default 2,000. */
  readonly lingerMs?: number
}

/** Some round trips, and time for a target to end: sshd on a small device takes some 100 ms. */
const LINGER_MS = 2_000

/**
 * Joins a stream to the standard input and output of a program, as a ProxyCommand of ssh does. Half-close goes both
 * ways. Resolves when both directions have ended, and `output` has taken all; rejects with the TunnelError of a stream
 * that was reset.
 *
 * An output whose reader is gone (EPIPE) is no error, nor is `leave`. ssh does both at its own end: it writes its last
 * words, closes both descriptors, and sends SIGHUP. Its last words are sent on; then the end of `input` ends the
 * stream. Input that does not end within `lingerMs` resets it: what was sent of it is not all of it.
 */
export async function joinStdio(stream: TunnelStream, options: StdioOptions): Promise<void> {
  const { input, output, leave, lingerMs = LINGER_MS } = options
  let lingering: NodeJS.Timeout | undefined
  let endOutput!: () => void
  // A pipe with a slow reader: the program that exits before has lost the last bytes.
  const outputEnded = new Promise<void>((resolve) => (endOutput = resolve))
  const linger = (): void => {
    if (lingering !== undefined) return
    lingering = setTimeout(() => {
      stream.destroy()
      endOutput()
    }, lingerMs)
    stream.unpipe(output)
    stream.resume()
  }
  output.on('error', linger)
  input.on('error', (error) => stream.destroy(error))
  stream.once('end', () => {
    if (options.closeOutput === undefined) output.end(endOutput)
    else
      output.write('', () => {
        options.closeOutput?.()
        endOutput()
      })
  })
  input.pipe(stream)
  stream.pipe(output, { end: false })
  if (leave?.aborted === true) linger()
  else leave?.addEventListener('abort', linger, { once: true })
  try {
    await finished(stream)
    await outputEnded
  } catch (error) {
    if (lingering === undefined) throw error
  } finally {
    clearTimeout(lingering)
    leave?.removeEventListener('abort', linger)
    input.unpipe(stream)
    input.pause()
  }
}
