import { ErrorCode, TunnelMQError } from '../../errors.ts'
import type { IdentityListener, IdentityStore, IdentityWrite, StoredIdentity } from '../contract.ts'
import { decodeIdentity, encodeIdentity, identityField, parseIdentityField } from '../identities.ts'
import type { LogEntry, RedisLink, ScriptArgument } from './contract.ts'
import { listIn, numberIn, textIn } from './reply.ts'
import type { Requests } from './requests.ts'

const SCAN_COUNT = 500

/**
 * Identities of all pods. What one writes is in the log, which all of them follow: at once, in order, and none is missed.
 */
export class RedisIdentities implements IdentityStore {
  corruptValues = 0
  readonly #link: RedisLink
  readonly #requests: Requests
  #listener: IdentityListener | undefined
  /** Of what the listener was told. */
  #revision = 0

  constructor(link: RedisLink, requests: Requests) {
    this.#link = link
    this.#requests = requests
    link.follower.onLog('identity', (entry) => this.#logged(entry))
  }

  listen(listener: IdentityListener): void {
    this.#listener = listener
  }

  async write(writes: readonly IdentityWrite[], atRevision: number): Promise<number | undefined> {
    const args: ScriptArgument[] = [atRevision]
    let bytes = 0
    for (const { kind, name, json } of writes) {
      args.push(identityField(kind, name))
      args.push(json === undefined ? '' : encodeIdentity(atRevision + 1, json), json ?? '')
      bytes += 2 * (name.length + (json?.length ?? 0))
    }
    const [outcome, revision, position] = await this.#requests.ask('identities', args, {
      patience: 'wait',
      bytes,
    })
    await this.#requests.applied(position)
    return outcome === 0 ? numberIn(revision) : undefined
  }

  /** What the log has from the load's position on is told afterwards, and is in part in here already. */
  async load(): Promise<void> {
    const key = this.#link.key('identities')
    const revision = Number(await this.#link.command('GET', this.#link.key('identityrev'))) || 0
    const found = new Map<string, StoredIdentity>()
    let cursor = '0'
    do {
      const reply = listIn(await this.#link.command('HSCAN', key, cursor, 'COUNT', SCAN_COUNT))
      cursor = textIn(reply[0])
      const pairs = listIn(reply[1])
      for (let at = 0; at + 1 < pairs.length; at += 2) {
        const field = textIn(pairs[at])
        const value = pairs[at + 1]
        const record = Buffer.isBuffer(value) ? decodeIdentity(field, value) : undefined
        if (record === undefined) this.corruptValues++
        else found.set(field, record)
      }
    } while (cursor !== '0')
    this.#revision = revision
    this.#listener?.loaded([...found.values()], revision)
  }

  #logged([, , revisionText, changes]: LogEntry): void {
    const revision = Number(revisionText)
    if (!Number.isSafeInteger(revision) || !Array.isArray(changes)) throw notOurs()
    // In what was loaded already.
    if (revision <= this.#revision) return
    const records = (changes as unknown[]).map((change) => {
      const [field, json] = Array.isArray(change) ? (change as unknown[]) : []
      const named = typeof field === 'string' ? parseIdentityField(field) : undefined
      if (named === undefined || (json !== null && typeof json !== 'string')) throw notOurs()
      return { ...named, revision, json: json ?? undefined }
    })
    this.#revision = revision
    this.#listener?.changed(records, revision)
  }
}

function notOurs(): TunnelMQError {
  return new TunnelMQError(ErrorCode.store, 'Not a change of identities')
}
