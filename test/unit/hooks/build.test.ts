import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { buildHandlers } from '../../../src/hooks/build.ts'
import { fakeLog, fakeMessage, fakeSession } from './fakes.ts'

let folder: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'tunnelmq-'))
})
afterEach(async () => {
  delete process.env['TUNNELMQ_TEST_CLOSED']
  await rm(folder, { recursive: true })
})

const dependencies = { log: fakeLog(), mountpoint: 'site' }

describe('buildHandlers', () => {
  it('makes every kind, in order, and gives a second one of a kind a name of its own', async () => {
    const passwords = join(folder, 'passwords')
    const acl = join(folder, 'acl')
    const own = join(folder, 'own.mjs')
    await writeFile(passwords, '')
    await writeFile(acl, 'pattern write %m/%c')
    await writeFile(own, 'export default (options) => ({ name: options.name, authConnect() {} })')
    const handlers = await buildHandlers(
      [
        { type: 'anonymous', allow: true },
        { type: 'password-file', file: passwords },
        { type: 'password-file', file: passwords },
        { type: 'acl-file', file: acl, dialect: 'vernemq' },
        { type: 'module', file: own, options: { name: 'ours' } },
      ],
      dependencies,
    )
    expect(handlers.map((handler) => handler.name)).toEqual([
      'anonymous',
      'password-file',
      'password-file#2',
      'acl-file',
      'ours',
    ])
    expect(handlers[3]?.authPublish?.(fakeSession({ id: 'c' }), fakeMessage('site/c'))).toBeUndefined()
    for (const handler of handlers) await handler.close?.()
  })

  it('closes what it has made when a later one cannot be made', async () => {
    const own = join(folder, 'own.mjs')
    await writeFile(
      own,
      'export default { authConnect() {}, close() { process.env.TUNNELMQ_TEST_CLOSED = "yes"; throw new Error() } }',
    )
    const broken = buildHandlers(
      [
        { type: 'module', file: own, options: {} },
        { type: 'password-file', file: join(folder, 'missing') },
      ],
      dependencies,
    )
    await expect(broken).rejects.toThrow('missing')
    expect(process.env['TUNNELMQ_TEST_CLOSED']).toBe('yes')
  })
})
