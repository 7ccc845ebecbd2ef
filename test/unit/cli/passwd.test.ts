import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { PassThrough } from 'node:stream'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { passwdCommand } from '../../../src/cli/passwd.ts'
import { readPassword, type PasswordInput } from '../../../src/cli/read-password.ts'

let folder: string
let file: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'tunnelmq-'))
  file = join(folder, 'passwords.txt')
})
afterEach(() => rm(folder, { recursive: true }))

/** Runs the command with this standard input. */
async function passwd(args: readonly string[], input = '') {
  const printed: string[] = []
  const prompted: string[] = []
  let exitCode = 0
  const stdin: PasswordInput = new PassThrough()
  stdin.push(input)
  stdin.push(null)
  await passwdCommand({
    input: stdin,
    print: (line) => printed.push(line),
    prompt: (text) => prompted.push(text),
    setExitCode: (code) => (exitCode = code),
  }).parseAsync(args, { from: 'user' })
  return { printed, prompted: prompted.join(''), exitCode }
}

describe('tunnelmq passwd', () => {
  it('makes a file, adds, changes, checks, lists and removes users', async () => {
    expect((await passwd(['--create', file, 'alice'], 'one\n')).printed).toEqual([`alice added to ${file}`])
    expect((await passwd([file, 'bob'], 'two')).printed).toEqual([`bob added to ${file}`])
    expect(await passwd(['--verify', file, 'alice'], 'one\r\n')).toMatchObject({ exitCode: 0 })
    expect((await passwd([file, 'alice'], 'three\n')).printed).toEqual([
      `password of alice changed in ${file}`,
    ])
    expect(await passwd(['--verify', file, 'alice'], 'one\n')).toEqual({
      printed: [],
      prompted: 'wrong password for alice\n',
      exitCode: 1,
    })
    expect(await passwd(['--verify', file, 'alice'], 'three\n')).toMatchObject({ exitCode: 0 })
    expect((await passwd(['--list', file])).printed).toEqual(['alice', 'bob'])
    expect((await passwd(['--delete', file, 'alice'])).printed).toEqual([`alice removed from ${file}`])
    expect((await passwd(['--list', file])).printed).toEqual(['bob'])
    expect(await readFile(file, 'utf8')).toMatch(/^bob:\$scrypt\$ln=14,r=8,p=1\$\S+\n$/)
  })

  it('maintains files of the handler scram with --scram', async () => {
    const scram = (args: readonly string[], input?: string) => passwd(['--scram', ...args], input)
    await scram(['--iterations', '4096', '--create', file, 'I\u00adX'], 'one\n')
    await scram([file, 'bob'], 'two\n')
    expect(await scram(['--verify', file, 'bob'], 'two\n')).toMatchObject({ exitCode: 0 })
    expect(await scram(['--verify', file, 'bob'], 'one\n')).toMatchObject({ exitCode: 1 })
    expect((await scram(['--list', file])).printed).toEqual(['IX', 'bob'])
    await scram(['--delete', file, 'bob'])
    expect(await readFile(file, 'utf8')).toMatch(/^IX:SCRAM-SHA-256\$4096:\S+\$\S+:\S+\n$/)
    await expect(scram([file, 'x'], 'bell\u0007\n')).rejects.toThrow('U+0007')
    await expect(scram([file, 'x\u0627'], 'one\n')).rejects.toThrow('from the right and from the left')
    await writeFile(file, 'bob:$6$x\n')
    await expect(scram([file, 'x'], 'one\n')).rejects.toThrow(`${file}:1: no entry of the form`)
    await expect(passwd(['--iterations', '5000', file, 'x'], 'one\n')).rejects.toThrow('is for --scram')
  })

  it('ends with 1 for a user that is not there', async () => {
    await writeFile(file, '')
    for (const action of ['--delete', '--verify']) {
      expect(await passwd([action, file, 'nobody'], 'x\n')).toMatchObject({
        exitCode: 1,
        prompted: `no user nobody in ${file}\n`,
      })
    }
  })

  it.each([
    [['--create', '--delete', 'FILE', 'a'], 'only one of --create, --delete'],
    [['FILE'], 'user name is missing'],
    [['FILE', 'a:b'], 'colon'],
    [['--list', 'FILE', 'a'], 'takes no user name'],
    [['FILE', 'a'], 'the password is empty'],
  ])('says what is wrong with %j, and changes nothing', async (args, fault) => {
    const before = 'bob:$x\n'
    await writeFile(file, before)
    const called = args.map((arg) => (arg === 'FILE' ? file : arg))
    await expect(passwd(called, '\n')).rejects.toMatchObject({
      code: 'TMQ_USAGE',
      message: expect.stringContaining(fault),
    })
    expect(await readFile(file, 'utf8')).toBe(before)
  })

  it('names a file that is missing or not usable', async () => {
    await expect(passwd([file, 'a'], 'x\n')).rejects.toThrow(
      `${file}: no such file (--create makes a new one)`,
    )
    await expect(passwd(['--list', file])).rejects.toMatchObject({ code: 'TMQ_FILE' })
    await writeFile(file, 'alice:plain\n')
    await expect(passwd(['--verify', file, 'alice'], 'plain\n')).rejects.toThrow(`${file}:1`)
  })
})

describe('the password prompt', () => {
  /** A terminal on which this is typed, chunk by chunk; what it is told and shows, in order. */
  function terminal(...typed: (string | Buffer)[]) {
    const events: string[] = []
    const input: PasswordInput = Object.assign(new PassThrough(), {
      isTTY: true,
      setRawMode: (on: boolean) => events.push(on ? 'raw' : 'cooked'),
    })
    for (const chunk of typed) input.push(chunk)
    return {
      events,
      read: (confirm: boolean) => readPassword(input, (text) => events.push(text), { confirm }),
    }
  }

  it('asks twice, shows nothing of what is typed, and is in raw mode before it asks', async () => {
    const { read, events } = terminal('sec', 'ret\r', 'secret\r')
    expect(String(await read(true))).toBe('secret')
    expect(events).toEqual(['raw', 'Password: ', 'cooked', '\n', 'raw', 'Password again: ', 'cooked', '\n'])
  })

  it('takes both lines out of one paste', async () => {
    expect(String(await terminal('secret\nsecret\n').read(true))).toBe('secret')
  })

  it('refuses two that differ, and an empty one', async () => {
    await expect(terminal('secret\r', 'secrets\r').read(true)).rejects.toThrow('differ')
    await expect(terminal('\r').read(true)).rejects.toThrow('empty')
  })

  it('knows backspace, also over characters of several bytes, and ctrl-u', async () => {
    expect(String(await terminal('xyz\u0015pä\u007f\u007f\u007fnö€\u007f\r').read(false))).toBe('nö')
  })

  it('stops at ctrl-c and leaves raw mode', async () => {
    const { read, events } = terminal('sec\u0003')
    await expect(read(true)).rejects.toThrow('interrupted')
    expect(events).toEqual(['raw', 'Password: ', 'cooked', '\n'])
  })
})
