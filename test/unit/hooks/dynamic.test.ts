import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { createDynamicHandler } from '../../../src/hooks/dynamic/handler.ts'
import { noOpinion } from '../../../src/hooks/types.ts'
import { Directory } from '../../../src/identities/directory.ts'
import type { Identity } from '../../../src/identities/records.ts'
import { createKeyText } from '../../../src/identities/secrets.ts'
import type { StoredIdentity } from '../../../src/store/contract.ts'
import { fakeLog, fakeMessage, fakeSession, type FakeLog } from './fakes.ts'

let directory: Directory
let log: FakeLog

beforeEach(() => {
  vi.useFakeTimers({ now: 1_000_000, toFake: ['Date', 'setTimeout', 'clearTimeout'] })
  log = fakeLog()
  directory = new Directory(log)
})
afterEach(() => {
  directory.close()
  vi.useRealTimers()
})

const key = createKeyText()

function record(more: Partial<Identity> & { expiresAtMs?: number } = {}): StoredIdentity {
  const { expiresAtMs = 0, ...rest } = more
  const keys = [{ id: key.id, description: '', hash: key.hash, createdAtMs: 1, expiresAtMs }]
  const none = { description: '', isEnabled: true, groups: [], roles: [], createdAtMs: 1, changedAtMs: 1 }
  const json = JSON.stringify({ ...none, name: 'pi7', keys, ...rest })
  return { kind: 'identity', name: 'pi7', revision: 1, json }
}

describe('the dynamic handler', () => {
  it('refuses everybody until the identities are read', () => {
    const handler = createDynamicHandler({ directory })
    expect(() => handler.authConnect!(fakeSession({ username: 'pi7', password: 'x' }))).toThrow(
      'not read yet',
    )
  })

  it('takes a key without a user name, and gives the session that of its identity', () => {
    directory.loaded([record()], 1)
    const handler = createDynamicHandler({ directory })
    const session = fakeSession({ password: key.text })
    expect(handler.authConnect!(session)).toBeUndefined()
    expect(session.username).toBe('pi7')
    const wrong = fakeSession({ password: createKeyText().text })
    expect(() => handler.authConnect!(wrong)).toThrow('wrong password or key')
  })

  it('calls for its sessions when a key ends, and lets nobody in with it from then on', () => {
    directory.loaded([record({ expiresAtMs: 1_002_000 })], 1)
    const handler = createDynamicHandler({ directory })
    const session = fakeSession({ username: 'pi7', password: key.text })
    const other = fakeSession({ username: 'pi8' })
    const concerned: boolean[][] = []
    handler.onChange!((of) => {
      if (typeof of === 'function') concerned.push([of(session), of(other)])
    })
    expect(handler.authConnect!(session)).toBeUndefined()
    vi.advanceTimersByTime(1_999)
    expect(concerned).toEqual([])
    expect(handler.stillAllowed!(session)).toBe(true)
    vi.advanceTimersByTime(1)
    expect(concerned).toEqual([[true, false]])
    expect(handler.stillAllowed!(session)).toBe(false)
    const again = fakeSession({ username: 'pi7', password: key.text })
    expect(() => handler.authConnect!(again)).toThrow('expired')
  })

  it('has no opinion on names that are not there, nor on who comes without a secret of ours', async () => {
    directory.loaded([record({ keys: [] })], 1)
    const handler = createDynamicHandler({ directory })
    expect(handler.authConnect!(fakeSession())).toBe(noOpinion)
    expect(handler.authConnect!(fakeSession({ username: 'pi7' }))).toBe(noOpinion)
    expect(handler.authPublish!(fakeSession({ username: 'pi8' }), fakeMessage('a'))).toBe(noOpinion)
    // Both cost a hash: which names there are is not told by the time it takes.
    for (const username of ['pi7', 'pi8']) {
      const answer = handler.authConnect!(fakeSession({ username, password: 'x' }))
      expect(answer).toBeInstanceOf(Promise)
      expect(await answer).toBe(noOpinion)
    }
  })

  it.each([
    ['is no JSON', '{'],
    ['has another name', record({ name: 'pi8' }).json],
    [
      'has a field that we do not know',
      JSON.stringify({ ...JSON.parse(record().json), onlyFrom: '10.0.0.0/8' }),
    ],
    ['has a wrong field', JSON.stringify({ ...JSON.parse(record().json), isEnabled: 'no' })],
  ])('gives no rights by a record that %s, and says so', (_, json) => {
    directory.loaded([{ ...record(), json }], 1)
    const handler = createDynamicHandler({ directory })
    const session = fakeSession({ username: 'pi7', password: key.text })
    // Whoever else says who that is: it may have been disabled.
    expect(() => handler.authConnect!(session)).toThrow('disabled')
    expect(() => handler.vetoConnect!(session)).toThrow('disabled')
    expect(directory.figures()).toMatchObject({ identities: 0, unreadable: 1 })
    expect(log.lines.map(({ level }) => level)).toEqual(['error'])
    directory.changed([{ ...record(), json: undefined }], 2)
    expect(handler.authConnect!(session)).toBe(noOpinion)
  })

  it.each(['role', 'group'] as const)(
    'gives no rights at all to who has a %s that cannot be read',
    (kind) => {
      const rules = (allow: boolean) => [{ allow, actions: ['publish'], on: 'd/#' }]
      const role = (name: string, allow: boolean): StoredIdentity => ({
        kind: 'role',
        name,
        revision: 1,
        json: JSON.stringify({ name, description: '', rules: rules(allow) }),
      })
      const group: StoredIdentity = {
        kind: 'group',
        name: 'field',
        revision: 1,
        json: JSON.stringify({ name: 'field', description: '', roles: ['denies'] }),
      }
      const has = { groups: ['field'], roles: ['allows'] }
      const records = [record(has), role('allows', true), role('denies', false), group]
      const handler = createDynamicHandler({ directory })
      const session = fakeSession({ username: 'pi7' })
      const publish = () => handler.authPublish!(session, fakeMessage('d/x'))
      directory.loaded(records, 1)
      expect(publish()).toBeUndefined()
      // What is damaged may have denied it.
      directory.loaded(
        records.map((one) => (one.kind === kind && one.name !== 'allows' ? { ...one, json: '{' } : one)),
        1,
      )
      expect(publish).toThrow('no role allows this topic')
      expect(
        handler.explain!(session, { action: 'publish', topic: 'd/x', qos: 0, retain: false })?.reason,
      ).toContain(`the ${kind} "`)
    },
  )
})
