import { basename } from 'node:path'
import { parseAcl, type AclDialect } from '../hooks/acl.ts'
import { parsePasswordFile } from '../hooks/password-file.ts'
import { Draft, type RightsFile } from './draft.ts'
import type { Imported } from './mosquitto.ts'
import { readText } from './settings.ts'

/** What a file is that was given in place of a configuration; undefined: it is one. */
export function rightsKindOf(text: string): RightsFile['kind'] | undefined {
  const lines = text.split(/\r?\n/).filter((line) => line.trim() !== '' && !line.trim().startsWith('#'))
  const words = new Set(lines.map((line) => line.trim().split(/\s/)[0]))
  // A bridge of mosquitto has lines `topic` as well, and never those alone.
  if ((words.has('topic') || words.has('pattern')) && [...words].every((word) => aclWords.has(word)))
    return 'acl'
  return lines.length > 0 && lines.every((line) => /^[^:=]+:\$\w+\$/.test(line)) ? 'passwords' : undefined
}

const aclWords = new Set<string | undefined>(['user', 'topic', 'pattern'])

/** A configuration around one such file, for programs of this machine. */
export function importRightsFile(origin: AclDialect, kind: RightsFile['kind'], file: string): Imported {
  const draft = new Draft()
  draft.config.listeners.push({ type: 'tcp', host: '127.0.0.1', port: 1_883 })
  draft.config.handlers = [
    kind === 'acl' ? { type: 'acl-file', file, dialect: origin } : { type: 'password-file', file },
  ]
  return { draft, rightsFiles: [{ kind, source: file }] }
}

/** An access list or password file as ours reads it: lines that it would refuse are comments in it. */
export interface CarriedFile extends RightsFile {
  readonly text: string
  /** Rules or users. */
  readonly lineCount: number
}

/**
 * Our handlers read the files of both brokers as they are. What they would refuse is noted line by line and commented
 * out: one bad line would otherwise keep the broker from starting, or (a rule) let more or fewer in than it should.
 */
export async function carryRightsFile(
  { kind, source }: RightsFile,
  dialect: AclDialect,
  draft: Draft,
): Promise<CarriedFile | undefined> {
  const whole = { key: basename(source), file: source, line: 0 }
  let text: string
  try {
    text = await readText(source)
  } catch (error) {
    draft.note('lost', whole, (error as Error).message)
    return undefined
  }
  let lineCount = 0
  /** Of the user whose name could not be taken, nothing is: his rules would go to the user before. */
  let skipsRules = false
  const lines = text.split(/\r?\n/).map((line, index) => {
    const trimmed = line.trim()
    if (trimmed === '' || trimmed.startsWith('#')) return line
    const isUser = kind === 'acl' && /^user\b/.test(trimmed)
    const isPattern = kind === 'acl' && trimmed.startsWith('pattern')
    const fault = faultOf(trimmed, kind, source, dialect)
    if (isUser) skipsRules = fault !== undefined
    else if (fault === undefined && (!skipsRules || isPattern)) {
      lineCount++
      return line
    }
    if (fault === undefined && isUser) return line
    draft.note('lost', { ...whole, line: index + 1 }, fault ?? 'belongs to a user whose line cannot be read')
    // The text of a password line may be the password.
    if (kind === 'acl') return `# not carried over: ${trimmed}`
    return `# not carried over: ${trimmed.includes(':') ? trimmed.split(':')[0] : 'a line without a name'}`
  })
  draft.note('carried', whole, kind === 'acl' ? `${lineCount} rules` : `${lineCount} users`)
  if (kind === 'acl' && dialect === 'mosquitto')
    draft.note(
      'changed',
      whole,
      'a subscription to more than its rules allow is refused here; mosquitto grants it, and delivers what they allow: `topic read home/#` and a client that subscribes to `#`',
    )
  return { kind, source, text: lines.join('\n'), lineCount }
}

function faultOf(
  line: string,
  kind: RightsFile['kind'],
  file: string,
  dialect: AclDialect,
): string | undefined {
  try {
    if (kind === 'acl') parseAcl(line, { file, dialect })
    else parsePasswordFile(line, file)
    return undefined
  } catch (error) {
    return (error as Error).message.replace(`${file}:1: `, '')
  }
}
