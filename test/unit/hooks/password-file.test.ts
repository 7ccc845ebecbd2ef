import { createHash } from 'node:crypto'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { createPasswordFileHandler, parsePasswordFile } from '../../../src/hooks/password-file.ts'
import { AuthError, noOpinion, type ManagedHandler } from '../../../src/hooks/types.ts'
import { PATIENCE } from '../../support/eventually.ts'
import { replaceFile } from '../../support/replace-file.ts'
import { fakeLog, fakeSession } from './fakes.ts'

/** As vmq-passwd writes it: SHA-512 of password and salt. */
function vmqLine(user: string, password: string): string {
  const salt = Buffer.from('0123456789ab')
  const digest = createHash('sha512').update(password).update(salt).digest('base64')
  return `${user}:$6$${salt.toString('base64')}$${digest}`
}
const slowLine =
  'slow:$7$101$w3CX1iJ3IizAUGHQ$OVnH5nyed1Ty0MFSTOCdhtYrXtrb2+0kqbbu7JpCy/HZS2vDkcFZ7JsA3pUOD9OvHzWJNgqC8lb4G+4tl04VDQ=='

let folder: string
let file: string
const opened: ManagedHandler[] = []
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'tunnelmq-'))
  file = join(folder, 'passwords.txt')
})
afterEach(async () => {
  for (const handler of opened.splice(0)) await handler.close?.()
  await rm(folder, { recursive: true })
})

async function open(content: string | Buffer, log = fakeLog()) {
  await writeFile(file, content)
  const handler = await createPasswordFileHandler({ file, log })
  opened.push(handler)
  const connect = async (username?: string, password?: string) => {
    const session = fakeSession({
      ...(username === undefined ? {} : { username }),
      ...(password === undefined ? {} : { password }),
    })
    try {
      const verdict = await handler.authConnect?.(session)
      return { session, verdict: verdict === noOpinion ? 'no opinion' : 'allowed' }
    } catch (error) {
      if (!(error instanceof AuthError)) throw error
      return { session, verdict: error.reason }
    }
  }
  return { handler, connect, log }
}

describe('parsePasswordFile', () => {
  it('skips blank lines, comments and Windows line ends', () => {
    const { users } = parsePasswordFile(`# users\r\n\r\n${vmqLine('alice', 'a')}\r\n  \r\n${slowLine}`, 'f')
    expect([...users.keys()]).toEqual(['alice', 'slow'])
  })

  it.each([
    ['alice', 'pw.txt:2: not of the form name:hash'],
    [':$6$a$b', 'pw.txt:2: not of the form name:hash'],
    ['alice:plain', 'pw.txt:2: the password is not hashed'],
  ])('names file and line of %j', (line, message) => {
    expect(() => parsePasswordFile(`${vmqLine('bob', 'b')}\n${line}\n`, 'pw.txt')).toThrow(message)
  })

  it('does not repeat a password in its message', () => {
    expect(() => parsePasswordFile('alice:top-secret', 'f')).toThrow(
      expect.objectContaining({ message: expect.not.stringContaining('top-secret') }) as Error,
    )
  })

  it('takes names like __proto__ for names', () => {
    const { users } = parsePasswordFile(vmqLine('__proto__', 'x'), 'f')
    expect(users.has('__proto__')).toBe(true)
    expect(users.has('constructor')).toBe(false)
  })
})

describe('the password-file handler', () => {
  it('allows the right password, refuses a wrong one, and leaves unknown names to the next', async () => {
    const { connect } = await open(`${vmqLine('fast', 'one')}\n${slowLine}\n`)
    expect((await connect('fast', 'one')).verdict).toBe('allowed')
    expect((await connect('slow', 'secret')).verdict).toBe('allowed')
    expect((await connect('fast', 'secret')).verdict).toBe('bad-credentials')
    expect((await connect('slow', 'one')).verdict).toBe('bad-credentials')
    expect((await connect('fast')).verdict).toBe('bad-credentials')
    expect((await connect('nobody', 'one')).verdict).toBe('no opinion')
    expect((await connect('nobody')).verdict).toBe('no opinion')
    expect((await connect()).verdict).toBe('no opinion')
  })

  it('lets an unknown name cost a hash as well', async () => {
    const { handler } = await open(slowLine)
    const verdict = handler.authConnect?.(fakeSession({ username: 'nobody', password: 'secret' }))
    expect(verdict).toBeInstanceOf(Promise)
    expect(await verdict).toBe(noOpinion)
  })

  it('lets the last line of a name count, as mosquitto and VerneMQ do', async () => {
    const { connect } = await open(`${vmqLine('twice', 'first')}\n${vmqLine('twice', 'last')}\n`)
    expect((await connect('twice', 'last')).verdict).toBe('allowed')
    expect((await connect('twice', 'first')).verdict).toBe('bad-credentials')
  })

  it('knows nobody when the file is empty', async () => {
    const { connect } = await open('')
    expect((await connect('alice', 'x')).verdict).toBe('no opinion')
  })

  it('does not start with a file that is missing or not usable', async () => {
    const log = fakeLog()
    await expect(createPasswordFileHandler({ file, log })).rejects.toThrow(file)
    await expect(open('alice:plain')).rejects.toMatchObject({ code: 'TMQ_FILE' })
    await expect(open(Buffer.from([0xff, 0x3a]))).rejects.toThrow(`${file}: cannot be read`)
  })

  it('takes over a changed file, and ends sessions whose line is gone or different', async () => {
    const { handler, connect } = await open(
      [vmqLine('stays', '1'), vmqLine('changes', '2'), vmqLine('goes', '3')].join('\n'),
    )
    const stays = await connect('stays', '1')
    const changes = await connect('changes', '2')
    const goes = await connect('goes', '3')
    const other = fakeSession({ username: 'of another handler' })
    const changed = vi.fn()
    handler.onChange?.(changed)
    await writeFile(file, `${vmqLine('stays', '1')}\n${vmqLine('changes', 'new')}\n`)
    await handler.reload?.()
    expect(changed).toHaveBeenCalledTimes(1)
    expect(handler.stillAllowed?.(stays.session)).toBe(true)
    expect(handler.stillAllowed?.(changes.session)).toBe(false)
    expect(handler.stillAllowed?.(goes.session)).toBe(false)
    expect(handler.stillAllowed?.(other)).toBe(true)
    expect((await connect('changes', '2')).verdict).toBe('bad-credentials')
    expect((await connect('changes', 'new')).verdict).toBe('allowed')
  })

  it('keeps the old rights when the changed file is not usable', async () => {
    const { handler, connect } = await open(vmqLine('alice', '1'))
    const { session } = await connect('alice', '1')
    await writeFile(file, 'alice:plain\n')
    await expect(handler.reload?.()).rejects.toThrow(`${file}:1: the password is not hashed`)
    await rm(file)
    await expect(handler.reload?.()).rejects.toThrow(file)
    expect(handler.stillAllowed?.(session)).toBe(true)
    expect((await connect('alice', '1')).verdict).toBe('allowed')
  })

  it('notices by itself that the file has changed, or is not usable', async () => {
    const { handler, connect, log } = await open(vmqLine('alice', '1'))
    const changed = new Promise<void>((resolve) => handler.onChange?.(() => resolve()))
    await replaceFile(file, vmqLine('bob', '2'))
    await changed
    expect((await connect('bob', '2')).verdict).toBe('allowed')
    await replaceFile(file, 'broken')
    await vi.waitFor(() => expect(log.lines.map((line) => line.level)).toContain('error'), PATIENCE)
    expect((await connect('bob', '2')).verdict).toBe('allowed')
  })
})
