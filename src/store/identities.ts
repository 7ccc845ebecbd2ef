import { isUtf8 } from 'node:buffer'
import type {
  IdentityKind,
  IdentityListener,
  IdentityStore,
  IdentityWrite,
  StoredIdentity,
} from './contract.ts'
import { VERSION } from './codec.ts'
import type { Journal, JournalWrite, Records } from './journal.ts'

/** Identities at rest. Field: a letter for the kind, and the name. Value: version byte, revision in digits, colon, JSON. */

const MARKS: Readonly<Record<IdentityKind, string>> = { identity: 'i', group: 'g', role: 'r' }

export function identityField(kind: IdentityKind, name: string): string {
  return MARKS[kind] + name
}

/** Undefined: none of ours. */
export function parseIdentityField(
  field: string,
): { readonly kind: IdentityKind; readonly name: string } | undefined {
  const kinds = Object.keys(MARKS) as IdentityKind[]
  const kind = kinds.find((one) => MARKS[one] === field[0])
  return kind === undefined || field.length < 2 ? undefined : { kind, name: field.slice(1) }
}

export function encodeIdentity(revision: number, json: string): Buffer {
  return Buffer.concat([Buffer.of(VERSION), Buffer.from(`${revision}:${json}`)])
}

/** Undefined: we would not have written it. */
export function decodeIdentity(field: string, value: Buffer): StoredIdentity | undefined {
  const named = parseIdentityField(field)
  if (named === undefined || value[0] !== VERSION || !isUtf8(value)) return undefined
  const found = /^([1-9]\d{0,14}):(\{.*\})$/s.exec(value.toString('utf8', 1))
  return found === null ? undefined : { ...named, revision: Number(found[1]), json: found[2] ?? '' }
}

/** Of a store on one machine. */
export class LocalIdentities implements IdentityStore {
  readonly #journal: Journal
  #listener: IdentityListener | undefined
  #revision = 0
  /** One write after the other, as each is about what the one before has made. */
  #turn: Promise<unknown> = Promise.resolve()

  constructor(journal: Journal) {
    this.#journal = journal
  }

  listen(listener: IdentityListener): void {
    this.#listener = listener
  }

  loaded(records: readonly StoredIdentity[], revision: number): void {
    this.#revision = records.reduce((highest, one) => Math.max(highest, one.revision), revision)
    this.#listener?.loaded(records, this.#revision)
  }

  write(writes: readonly IdentityWrite[], atRevision: number): Promise<number | undefined> {
    const done = this.#turn.then(() => this.#write(writes, atRevision))
    this.#turn = done.catch(() => undefined)
    return done
  }

  async #write(writes: readonly IdentityWrite[], atRevision: number): Promise<number | undefined> {
    if (atRevision !== this.#revision) return undefined
    const refusal = this.#journal.refusal()
    if (refusal !== undefined) throw refusal
    const revision = this.#revision + 1
    const put = (records: Records, value: (write: IdentityWrite) => IdentityWrite['before']): void => {
      for (const write of writes) {
        const now = value(write)
        if (now === undefined) records.deleteIdentity(write.kind, write.name)
        else records.putIdentity({ kind: write.kind, name: write.name, ...now })
      }
    }
    await this.#commit({
      durable: true,
      putInto(records) {
        put(records, ({ json }) => (json === undefined ? undefined : { json, revision }))
        records.putIdentityRevision(revision)
      },
      rollback() {},
      revert(records) {
        put(records, ({ before }) => before)
        // The number may be on the disk, one ahead of ours: the next write has it again.
      },
    })
    this.#revision = revision
    this.#listener?.changed(
      writes.map(({ kind, name, json }) => ({ kind, name, json, revision })),
      revision,
    )
    return revision
  }

  #commit(write: Omit<JournalWrite, 'settle'>): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#journal.write({
        ...write,
        settle: (error) => (error === undefined ? resolve() : reject(error)),
      })
    })
  }
}
