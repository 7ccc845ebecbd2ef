import { rewriteFile } from '../rewrite-file.ts'

/** Changes a password file: one user's line, every other byte as it was. */

/** What is wrong with a name, or undefined. */
export function usernameFault(username: string): string | undefined {
  if (username === '') return 'the user name is empty'
  // oxlint-disable-next-line no-control-regex -- that is what is looked for
  if (/[:\u0000-\u001f\u007f]/.test(username))
    return 'a user name cannot contain a colon or control characters'
  if (username.trim() !== username) return 'a user name cannot begin or end with a space'
  if (username.startsWith('#')) return 'a user name cannot begin with #'
  if (Buffer.byteLength(username) > 65_535) return 'the user name is longer than 65,535 bytes'
  return undefined
}

/** Sets the stored form of a user's password; answers whether the user was there before. */
export async function setUser(
  file: string,
  user: { readonly name: string; readonly stored: string },
  options: { readonly create: boolean },
): Promise<'added' | 'changed'> {
  const line = latin1(`${user.name}:${user.stored}`)
  let outcome: 'added' | 'changed' = 'added'
  await rewriteFile(file, options.create ? 'createOnly' : 'fail', (lines) => {
    const kept: string[] = []
    for (const old of lines) {
      if (!belongsTo(old, user.name)) kept.push(old)
      else if (outcome === 'added') {
        outcome = 'changed'
        kept.push(line + lineEnd(old))
      }
    }
    if (outcome === 'added') {
      const last = kept.pop()
      if (last !== undefined) kept.push(last.endsWith('\n') ? last : `${last}\n`)
      kept.push(`${line}\n`)
    }
    return kept
  })
  return outcome
}

/** Removes a user; answers whether the user was there. */
export async function deleteUser(file: string, name: string): Promise<boolean> {
  let found = false
  await rewriteFile(file, 'fail', (lines) => {
    const kept = lines.filter((line) => !belongsTo(line, name))
    found = kept.length < lines.length
    return kept
  })
  return found
}

function belongsTo(line: string, name: string): boolean {
  const start = line.trimStart()
  return !start.startsWith('#') && start.startsWith(`${latin1(name)}:`)
}

function lineEnd(line: string): string {
  return /\r?\n$/.exec(line)?.[0] ?? ''
}

function latin1(text: string): string {
  return Buffer.from(text).toString('latin1')
}
