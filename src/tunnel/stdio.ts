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
}

/**
 * Joins a stream to the standard input and output of a program, as a ProxyCommand of ssh does. Half-close goes both
 * ways. Resolves when both directions have ended; rejects with the TunnelError of a stream that was reset.
 * An output whose reader is gone (EPIPE) resets the stream, and is no error.
 */
export async function joinStdio(stream: TunnelStream, options: StdioOptions): Promise<void> {
  const { input, output } = options
  let isOutputGone = false
  output.on('error', () => {
    isOutputGone = true
    stream.destroy()
  })
  input.on('error', (error) => stream.destroy(error))
  stream.once('end', () => {
    if (options.closeOutput === undefined) output.end()
    else output.write('', () => options.closeOutput?.())
  })
  input.pipe(stream)
  stream.pipe(output, { end: false })
  try {
    await finished(stream)
  } catch (error) {
    if (!isOutputGone) throw error
  } finally {
    input.unpipe(stream)
    input.pause()
  }
}
