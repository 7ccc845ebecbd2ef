import type { Readable } from 'node:stream'
import { ErrorCode, TunnelMQError } from '../errors.ts'

/** Standard input: a terminal, or not. */
export type PasswordInput = Readable & { isTTY?: boolean; setRawMode?(raw: boolean): unknown }

/** What a CONNECT packet can carry (MQTT 3.1.1, 3.1.3.5). */
const maxPasswordBytes = 65_535

const keys = { enter: 0x0d, newline: 0x0a, interrupt: 0x03, endOfInput: 0x04, kill: 0x15 }
const eraseKeys = [0x08, 0x7f]

/** Reads a password: from a terminal without showing it (twice, with `confirm`), else one line of the input. */
export async function readPassword(
  input: PasswordInput,
  prompt: (text: string) => void,
  options: { readonly confirm: boolean },
): Promise<Buffer> {
  if (input.isTTY !== true) return checked(await readFirstLine(input))
  const password = checked(await ask(input, prompt, 'Password: '))
  if (options.confirm) {
    const again = await ask(input, prompt, 'Password again: ')
    const same = again.equals(password)
    again.fill(0)
    if (!same) throw usage('the two passwords differ; nothing was changed')
  }
  return password
}

function checked(password: Buffer): Buffer {
  if (password.length === 0) throw usage('the password is empty')
  if (password.length > maxPasswordBytes) throw usage(`the password is longer than ${maxPasswordBytes} bytes`)
  return password
}

async function readFirstLine(input: Readable): Promise<Buffer> {
  const chunks: Buffer[] = []
  let sizeBytes = 0
  for await (const chunk of input as AsyncIterable<Buffer | string>) {
    const bytes = Buffer.from(chunk)
    chunks.push(bytes)
    sizeBytes += bytes.length
    if (bytes.includes(keys.newline) || sizeBytes > maxPasswordBytes + 2) break
  }
  const all = Buffer.concat(chunks)
  const end = all.indexOf(keys.newline)
  const line = end === -1 ? all : all.subarray(0, end)
  return line.at(-1) === keys.enter ? line.subarray(0, -1) : line
}

/** Reads one line in raw mode: what is typed is never echoed. */
async function ask(input: PasswordInput, prompt: (text: string) => void, text: string): Promise<Buffer> {
  // First raw, then the prompt: who types at once must not be echoed either.
  input.setRawMode?.(true)
  prompt(text)
  try {
    return await typedLine(input)
  } finally {
    input.setRawMode?.(false)
    prompt('\n')
  }
}

function typedLine(input: PasswordInput): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const typed: number[] = []
    const finish = (settle: () => void) => {
      input.off('data', onData)
      input.off('end', onEnd)
      // Here and now: while it flows without a listener, what was typed ahead is lost.
      input.pause()
      settle()
    }
    const onEnd = () => finish(() => reject(usage('no password was given')))
    const onData = (chunk: Buffer | string) => {
      const bytes = Buffer.from(chunk)
      for (const [index, key] of bytes.entries()) {
        if (key === keys.interrupt) return finish(() => reject(usage('interrupted; nothing was changed')))
        if (key === keys.enter || key === keys.newline || key === keys.endOfInput) {
          // Pasted with the second line: that belongs to the next question.
          const rest = bytes.subarray(index + 1)
          return finish(() => {
            if (rest.length > 0) input.unshift(rest)
            resolve(Buffer.from(typed))
          })
        }
        if (key === keys.kill) typed.length = 0
        else if (eraseKeys.includes(key)) eraseCharacter(typed)
        else typed.push(key)
      }
    }
    input.on('data', onData)
    input.on('end', onEnd)
    input.resume()
  })
}

/** Removes one character, which may be several bytes of UTF-8. */
function eraseCharacter(typed: number[]): void {
  for (;;) {
    const byte = typed.pop()
    if (byte === undefined || (byte & 0xc0) !== 0x80) return
  }
}

function usage(message: string): TunnelMQError {
  return new TunnelMQError(ErrorCode.usage, message)
}
