import type { ScriptReply } from './contract.ts'

/** Entries of each stream in one read. An inbox is bounded in bytes as a whole. */
export const READ_COUNT = 1_000

/** One entry of the log or of an inbox. */
export interface StreamEntry {
  readonly number: number
  /** Undefined: not what we write. */
  readonly header: readonly [string, ...unknown[]] | undefined
  readonly message: Buffer | undefined
  /** As inbox() of lib.lua counts them. */
  readonly bytes: number
}

export interface ReadStreams {
  readonly log: readonly StreamEntry[]
  readonly inbox: readonly StreamEntry[]
}

const nothing: ReadStreams = { log: [], inbox: [] }

/** The reply of XREAD on the log and an inbox; what is not understood has no header. */
export function streamsOf(reply: ScriptReply, inboxKey: string): ReadStreams {
  if (!isArray(reply)) return nothing
  let { log, inbox } = nothing
  for (const stream of reply) {
    if (!isArray(stream) || !isArray(stream[1] ?? null)) continue
    const entries = (stream[1] as readonly ScriptReply[]).map(entryOf)
    if (String(stream[0]) === inboxKey) inbox = entries
    else log = entries
  }
  return { log, inbox }
}

function entryOf(reply: ScriptReply): StreamEntry {
  const [id, fields] = isArray(reply) ? reply : []
  // Ours end in `-0`. What does not, was never given out: its number is no more consecutive than it is ours.
  const number = Number(String(id).split('-', 1)[0])
  const values = isArray(fields ?? null) ? (fields as readonly ScriptReply[]) : []
  let text: Buffer | undefined
  let message: Buffer | undefined
  for (let index = 0; index + 1 < values.length; index += 2) {
    const value = values[index + 1]
    if (!Buffer.isBuffer(value)) continue
    if (String(values[index]) === 'e') text = value
    else if (String(values[index]) === 'm') message = value
  }
  return {
    number,
    header: headerOf(text),
    message,
    bytes: (text?.byteLength ?? 0) + (message?.byteLength ?? 0),
  }
}

function headerOf(text: Buffer | undefined): readonly [string, ...unknown[]] | undefined {
  if (text === undefined) return undefined
  try {
    const header: unknown = JSON.parse(text.toString())
    return Array.isArray(header) && typeof header[0] === 'string'
      ? (header as [string, ...unknown[]])
      : undefined
  } catch {
    return undefined
  }
}

function isArray(reply: ScriptReply | undefined): reply is readonly ScriptReply[] {
  return Array.isArray(reply)
}
