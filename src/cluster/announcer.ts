import type { Op, ScriptArgument, Writer } from '../store/redis/contract.ts'

/** Changes of one op, at most, and what their texts weigh: one op is one entry of the log. */
const MAX_CHANGES = 1_000
const MAX_CHANGES_BYTES = 64 * 1024
const RETRY_MS = 1_000

/** `value` undefined: it is not there any more, for `reason`. */
export interface Change {
  readonly name: string
  readonly value: string | undefined
  readonly reason: string
}

export interface AnnouncerOptions {
  readonly writer: Writer
  /** Name of the op in lua/, and what it is given of each change. */
  readonly op: string
  readonly encode: (change: Change) => readonly ScriptArgument[]
}

/**
 * What this pod tells of itself, as names with values, in a hash or set of its own in Redis and in the log. Changes of
 * one turn go together, and only the last of each name.
 */
export interface Announcer {
  set(name: string, value: string): void
  remove(name: string, reason?: string): void
  /** Unless it has another value by now. */
  removeIf(name: string, value: string, reason: string): void
  /** What was changed is submitted now, and not at the end of the turn. */
  flush(): void
  /** Why some of what was set is not known to others; it is tried again. */
  readonly failure: Error | undefined
  /** What Redis has of this pod: the difference is told. */
  reconcile(stored: ReadonlyMap<string, string>): void
  close(): void
}

export function createAnnouncer({ writer, op, encode }: AnnouncerOptions): Announcer {
  const wanted = new Map<string, string>()
  /** Names to be told, with the reason of those that are not wanted. */
  let changed = new Map<string, string>()
  const failed = new Map<string, string>()
  let failure: Error | undefined
  let flushing: NodeJS.Immediate | undefined
  let retrying: NodeJS.Timeout | undefined

  const change = (name: string, reason: string): void => {
    changed.set(name, reason)
    flushing ??= setImmediate(flush)
  }

  const retry = (): void => {
    retrying = undefined
    failure = undefined
    for (const [name, reason] of failed) if (!changed.has(name)) change(name, reason)
    failed.clear()
  }

  function submit(changes: readonly Change[], bytes: number): void {
    const [first] = changes
    if (first === undefined) return
    const settle: Op['settle'] = (error) => {
      if (error === undefined) return
      failure = error
      for (const { name, reason } of changes) failed.set(name, reason)
      retrying ??= setTimeout(retry, RETRY_MS).unref()
    }
    const args = changes.flatMap(encode)
    writer.submit({ name: op, args, bytes, frees: first.value === undefined, patience: 'wait', settle })
  }

  function flush(): void {
    if (flushing !== undefined) clearImmediate(flushing)
    flushing = undefined
    if (changed.size === 0) return
    const all = [...changed].map(([name, reason]) => ({ name, value: wanted.get(name), reason }))
    changed = new Map()
    // Apart: what only frees memory goes on when there is none.
    for (const isSet of [false, true]) {
      let changes: Change[] = []
      let bytes = 0
      for (const each of all) {
        if ((each.value !== undefined) !== isSet) continue
        changes.push(each)
        bytes += 64 + each.name.length + (each.value?.length ?? 0)
        if (changes.length < MAX_CHANGES && bytes < MAX_CHANGES_BYTES) continue
        submit(changes, bytes)
        changes = []
        bytes = 0
      }
      submit(changes, bytes)
    }
  }

  const remove = (name: string, reason = ''): void => {
    if (wanted.delete(name)) change(name, reason)
  }

  return {
    set(name, value) {
      if (wanted.get(name) === value) return
      wanted.set(name, value)
      change(name, '')
    },
    remove,
    removeIf(name, value, reason) {
      if (wanted.get(name) === value) remove(name, reason)
    },
    flush,
    get failure() {
      return failure
    },
    reconcile(stored) {
      for (const [name, value] of wanted) if (stored.get(name) !== value) change(name, '')
      for (const name of stored.keys())
        if (!wanted.has(name) && !changed.has(name)) change(name, failed.get(name) ?? '')
      // What has failed is among that.
      failed.clear()
      failure = undefined
      clearTimeout(retrying)
      retrying = undefined
    },
    close() {
      if (flushing !== undefined) clearImmediate(flushing)
      clearTimeout(retrying)
      flushing = retrying = undefined
    },
  }
}
