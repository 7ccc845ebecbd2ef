import { randomBytes } from 'node:crypto'
import { readPassword } from '../read-password.ts'
import { printJson, type ApiFlags } from './command.ts'

/** 192 random bits, in letters that need no quotes in a shell or a file. */
export function makePassword(): string {
  return randomBytes(24).toString('base64url')
}

/** Asked for on a terminal, else the first line of standard input. */
export async function askPassword(): Promise<string> {
  const password = await readPassword(process.stdin, (text) => process.stderr.write(text), { confirm: true })
  const text = password.toString()
  password.fill(0)
  return text
}

/** The secret alone on standard output, so that it can be led into a file; it is never shown again. */
export function printSecret(words: string, secret: string, flags: ApiFlags, json: object): void {
  if (flags.json === true) return printJson([json])
  process.stderr.write(`${words}; it is shown only now:\n`)
  process.stdout.write(`${secret}\n`)
}
