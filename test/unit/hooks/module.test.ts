import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createModuleHandler } from '../../../src/hooks/module.ts'
import { fakeMessage, fakeSession } from './fakes.ts'

let folder: string
let count = 0
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'tunnelmq-'))
})
afterAll(() => rm(folder, { recursive: true }))

async function load(source: string, options: Record<string, unknown> = {}, timeoutMs = 5_000) {
  const file = join(folder, `handler-${++count}.mjs`)
  await writeFile(file, source)
  return createModuleHandler({ file, options, timeoutMs })
}

describe('the module handler', () => {
  it('takes an object as default export, named after the file', async () => {
    const handler = await load('export default { authPublish() { throw new Error("asked") } }')
    expect(handler.name).toBe(`handler-${count}.mjs`)
    expect(() => handler.authPublish?.(fakeSession(), fakeMessage('a'))).toThrow('asked')
    expect(handler).not.toHaveProperty('authConnect')
  })

  it.each(['', 'async '])('takes an %sfunction that makes the handler from the options', async (kind) => {
    const handler = await load(
      `export default ${kind}function (options) { return { name: 'mine', authConnect(s) { s.username = options.as } } }`,
      { as: 'bob' },
    )
    const session = fakeSession()
    await handler.authConnect?.(session)
    expect(handler.name).toBe('mine')
    expect(session.username).toBe('bob')
  })

  it('keeps this, private fields, reload and close of a class', async () => {
    const handler = await load(`
      class Mine {
        #calls = []
        authConnect(session) { this.#calls.push('auth'); session.attributes.set('calls', this.#calls) }
        async reload() { this.#calls.push('reload') }
        async close() { this.#calls.push('close') }
      }
      export default new Mine()`)
    const session = fakeSession()
    await handler.authConnect?.(session)
    await handler.reload?.()
    await handler.close?.()
    expect(session.attributes.get('calls')).toEqual(['auth', 'reload', 'close'])
  })

  it.each([
    ['export const a = 1', 'has no default export'],
    ['export default 42', 'neither a Handler nor a function'],
    ['export default () => undefined', 'neither a Handler nor a function'],
    ['export default {}', 'has none of the methods'],
    ['export default { authConnect: true }', 'authConnect is not a function'],
    [
      'export default { authpublish() {} , authConnect() {} }',
      'authpublish is not a method of a Handler: authPublish?',
    ],
    ['export default new (class { authOnPublish() {} connect() {} })()', 'authOnPublish is not a method'],
    ['export default () => { throw new Error("no database") }', 'its function failed: no database'],
    ['export default async () => { throw new Error("no database") }', 'its function failed: no database'],
    ['syntax error', 'cannot be loaded'],
    ['import "./not-there.js"', 'cannot be loaded'],
  ])('names the file and what is wrong with %j', async (source, fault) => {
    await expect(load(source)).rejects.toThrow(fault)
    await expect(load(source)).rejects.toMatchObject({
      code: 'TMQ_HANDLER',
      message: expect.stringContaining(`handler-${count}.mjs`),
    })
  })

  it('does not wait for ever for the function', async () => {
    await expect(load('export default () => new Promise(() => {})', {}, 20)).rejects.toThrow(
      'no handler within 20 ms',
    )
  })

  it('names a file that is not there', async () => {
    await expect(createModuleHandler({ file: '/not/there.js', options: {} })).rejects.toThrow('/not/there.js')
  })
})
