import {
  chmod,
  mkdtemp,
  open,
  readdir,
  readFile,
  readlink,
  rm,
  stat,
  symlink,
  writeFile,
} from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { deleteUser, setUser, usernameFault } from '../../../src/hooks/password-store.ts'

let folder: string
let file: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'tunnelmq-'))
  file = join(folder, 'passwords.txt')
})
afterEach(() => rm(folder, { recursive: true }))

const set = (name: string, stored: string, create = false) => setUser(file, { name, stored }, { create })
const text = () => readFile(file, 'latin1')
const mode = async () => ((await stat(file)).mode & 0o777).toString(8)

describe('a password file', () => {
  it('is made new with mode 600, whatever the umask is', async () => {
    const before = process.umask(0)
    try {
      expect(await set('alice', '$x', true)).toBe('added')
    } finally {
      process.umask(before)
    }
    expect(await text()).toBe('alice:$x\n')
    expect(await mode()).toBe('600')
    expect(await readdir(folder)).toEqual(['passwords.txt'])
  })

  it('is not made over one that is there, nor by accident', async () => {
    await expect(set('alice', '$x')).rejects.toThrow('no such file')
    await writeFile(file, 'bob:$y\n')
    await expect(set('alice', '$x', true)).rejects.toThrow('is there already')
    expect(await text()).toBe('bob:$y\n')
    expect(await readdir(folder)).toEqual(['passwords.txt'])
  })

  it('keeps every other byte, the order, line ends, mode and unknown encodings', async () => {
    const before = Buffer.from(
      '# K\xf6ln\r\nalice:$a\r\n\n  bob:$b\n#bob:$old\nbobby:$c\nodd line\nlast:$d',
      'latin1',
    )
    await writeFile(file, before)
    await chmod(file, 0o640)
    expect(await set('bob', '$new')).toBe('changed')
    expect(await text()).toBe(before.toString('latin1').replace('  bob:$b', 'bob:$new'))
    expect(await set('alice', '$new')).toBe('changed')
    expect(await text()).toContain('alice:$new\r\n')
    expect(await set('last', '$new')).toBe('changed')
    expect(await text()).toMatch(/last:\$new$/)
    expect(await set('after', '$e')).toBe('added')
    expect(await text()).toMatch(/last:\$new\nafter:\$e\n$/)
    expect(await deleteUser(file, 'bobby')).toBe(true)
    expect(await deleteUser(file, 'nobody')).toBe(false)
    expect(await text()).toBe(
      '# K\xf6ln\r\nalice:$new\r\n\nbob:$new\n#bob:$old\nodd line\nlast:$new\nafter:$e\n',
    )
    expect(await mode()).toBe('640')
  })

  it('holds names in UTF-8, and one line for each', async () => {
    await writeFile(file, 'müller:$1\nmüller:$2\n')
    expect(await set('müller', '$3')).toBe('changed')
    expect(await readFile(file, 'utf8')).toBe('müller:$3\n')
    await deleteUser(file, 'müller')
    expect(await text()).toBe('')
  })

  it('loses nothing when many change it at once', async () => {
    await writeFile(file, '')
    const names = Array.from({ length: 20 }, (_, index) => `user${index}`)
    await Promise.all(names.map((name) => set(name, '$x')))
    expect((await text()).trim().split('\n').sort()).toEqual(names.map((name) => `${name}:$x`).sort())
    expect(await readdir(folder)).toEqual(['passwords.txt'])
  })

  it('is never seen half written: who has it open goes on reading the old one', async () => {
    await writeFile(file, 'alice:$a\n')
    const reader = await open(file)
    await set('bob', '$b')
    expect(await reader.readFile('utf8')).toBe('alice:$a\n')
    await reader.close()
  })

  it('stays a symbolic link when it is one', async () => {
    const target = join(folder, 'target')
    await writeFile(target, 'alice:$a\n')
    await symlink('target', file)
    await set('bob', '$b')
    expect(await readlink(file)).toBe('target')
    expect(await readFile(target, 'utf8')).toBe('alice:$a\nbob:$b\n')
  })

  it('names who holds the lock when it does not become free', { timeout: 15_000 }, async () => {
    await writeFile(file, '')
    await writeFile(`${file}.lock`, '4242\n')
    await expect(set('alice', '$a')).rejects.toThrow(/locked by process 4242.*passwords\.txt\.lock/)
    expect(await text()).toBe('')
  })
})

describe('usernameFault', () => {
  it('accepts names with spaces and other scripts', () => {
    for (const name of ['alice', 'joe smith', 'müller', '$SYS', '__proto__'])
      expect(usernameFault(name)).toBeUndefined()
  })
  it.each(['', 'a:b', 'a\nb', 'a\0', ' a', 'a ', '#a', 'x'.repeat(70_000)])('refuses %j', (name) => {
    expect(usernameFault(name)).toBeTypeOf('string')
  })
})
