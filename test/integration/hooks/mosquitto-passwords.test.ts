import { execFile } from 'node:child_process'
import { mkdtemp, readFile, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { PassThrough } from 'node:stream'
import { promisify } from 'node:util'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { passwdCommand } from '../../../src/cli/passwd.ts'
import { createChain } from '../../../src/hooks/chain.ts'
import { PendingDecision } from '../../../src/hooks/decision.ts'
import { createPasswordFileHandler } from '../../../src/hooks/password-file.ts'
import type { ManagedHandler } from '../../../src/hooks/types.ts'
import { fakeLog, fakeSession } from '../../unit/hooks/fakes.ts'

const run = promisify(execFile)

let folder: string
let file: string
const opened: ManagedHandler[] = []
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'tunnelmq-'))
  file = join(folder, 'passwords')
  await run('mosquitto_passwd', ['-c', '-b', file, 'alice', 'wonder land'])
  await run('mosquitto_passwd', ['-b', '-H', 'sha512', file, 'bob', 'pä$$:wörd'])
  await run('mosquitto_passwd', ['-b', file, 'carol smith', 'x'])
})
afterEach(async () => {
  for (const handler of opened.splice(0)) await handler.close?.()
  await rm(folder, { recursive: true })
})

async function open() {
  const handler = await createPasswordFileHandler({ file, log: fakeLog() })
  opened.push(handler)
  const chain = createChain([handler])
  const admits = async (username: string, password: string) => {
    const answer = chain.authConnect(fakeSession({ username, password }))
    return (answer instanceof PendingDecision ? await answer.promise : answer).allowed
  }
  return { handler, admits }
}

async function passwd(args: readonly string[], input = ''): Promise<number> {
  let exitCode = 0
  const stdin = new PassThrough()
  stdin.end(input)
  await passwdCommand({
    input: stdin,
    print: () => undefined,
    prompt: () => undefined,
    setExitCode: (code) => (exitCode = code),
  }).parseAsync(args, { from: 'user' })
  return exitCode
}

describe('a file of mosquitto_passwd', () => {
  it('has the hashes that these tests are about', async () => {
    expect(await readFile(file, 'utf8')).toMatch(/^alice:\$7\$.*\nbob:\$6\$.*\ncarol smith:\$7\$.*\n$/)
  })

  it('works unchanged', async () => {
    const { admits } = await open()
    expect(await admits('alice', 'wonder land')).toBe(true)
    expect(await admits('bob', 'pä$$:wörd')).toBe(true)
    expect(await admits('carol smith', 'x')).toBe(true)
    expect(await admits('alice', 'pä$$:wörd')).toBe(false)
    expect(await admits('bob', 'wonder land')).toBe(false)
    expect(await admits('alice', '')).toBe(false)
    expect(await admits('dave', 'x')).toBe(false)
  })

  it('follows what mosquitto_passwd changes in it', async () => {
    const { handler, admits } = await open()
    await run('mosquitto_passwd', ['-b', file, 'alice', 'new'])
    await run('mosquitto_passwd', ['-D', file, 'bob'])
    await handler.reload?.()
    expect(await admits('alice', 'new')).toBe(true)
    expect(await admits('alice', 'wonder land')).toBe(false)
    expect(await admits('bob', 'pä$$:wörd')).toBe(false)
  })

  it('is maintained by tunnelmq passwd, which leaves the other lines and the mode as they are', async () => {
    const before = (await readFile(file, 'utf8')).split('\n')
    const { mode } = await stat(file)
    expect(await passwd(['--verify', file, 'alice'], 'wonder land\n')).toBe(0)
    expect(await passwd(['--verify', file, 'alice'], 'wonderland\n')).toBe(1)
    expect(await passwd([file, 'bob'], 'new secret\n')).toBe(0)
    const after = (await readFile(file, 'utf8')).split('\n')
    expect(after[1]).toMatch(/^bob:\$scrypt\$/)
    expect(after.with(1, '')).toEqual(before.with(1, ''))
    expect((await stat(file)).mode).toBe(mode)
    expect(await passwd(['--delete', file, 'carol smith'])).toBe(0)
    const { admits } = await open()
    expect(await admits('alice', 'wonder land')).toBe(true)
    expect(await admits('bob', 'new secret')).toBe(true)
    expect(await admits('carol smith', 'x')).toBe(false)
  })

  it('can still be changed by mosquitto_passwd afterwards', async () => {
    await passwd([file, 'dave'], 'ours\n')
    await run('mosquitto_passwd', ['-b', file, 'alice', 'theirs'])
    const { admits } = await open()
    expect(await admits('dave', 'ours')).toBe(true)
    expect(await admits('alice', 'theirs')).toBe(true)
  })
})
