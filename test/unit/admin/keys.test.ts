import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import { createKeyText, hashKey, keyNameFault, nameInKey } from '../../../src/admin/api-key.ts'
import { addKey, deleteKey, parseKeyFile, parseScopes } from '../../../src/admin/key-file.ts'
import { hasScope, openKeys } from '../../../src/admin/keys.ts'
import { writeLocalKey } from '../../../src/admin/local-key.ts'
import { createLog, createSilentLog } from '../../../src/log.ts'

const hash = `sha256:${'ab'.repeat(32)}`
const created = '2026-11-21T12:00:00.000Z'

async function folder(): Promise<string> {
  const made = await mkdtemp(join(tmpdir(), 'tmq-keys-'))
  onTestFinished(() => rm(made, { recursive: true, force: true }))
  return made
}

const storedKey = (name: string, text: string, expiresAtMs?: number) => ({
  name,
  hash: hashKey(text),
  scopes: new Set(['read' as const]),
  createdAtMs: 0,
  expiresAtMs,
})

describe('the file of API keys', () => {
  it('is read line by line', () => {
    const text = `# made by hand\n\na ${hash} read,write ${created} never\r\n  b.c-d ${hash} admin ${created} 2027-01-01T00:00:00Z\n`
    const keys = parseKeyFile(text, 'keys')
    expect([...keys.keys()]).toEqual(['a', 'b.c-d'])
    expect(keys.get('a')).toMatchObject({ expiresAtMs: undefined, createdAtMs: Date.parse(created) })
    expect([...keys.get('a')!.scopes]).toEqual(['read', 'write'])
    expect(keys.get('b.c-d')?.expiresAtMs).toBe(Date.parse('2027-01-01T00:00:00Z'))
  })

  it.each([
    [`a ${hash} read ${created}`, 'has 4 words, not 5'],
    [`a_b ${hash} read ${created} never`, 'is no name of a key'],
    [`local ${hash} read ${created} never`, 'is the key that the broker makes itself'],
    [`a sha256:abc read ${created} never`, 'the hash is not'],
    [`a ${hash} read,all ${created} never`, '"all" is no scope'],
    [`a ${hash} , ${created} never`, '"" is no scope'],
    [`a ${hash} read yesterday never`, '"yesterday" is no time'],
    [`a ${hash} read ${created} 2027-13-01T00:00:00Z`, 'is neither "never" nor a time'],
    [`ok ${hash} read ${created} never`, 'ok is in line 1 already'],
  ])('refuses %j, with its line', (line, why) => {
    const text = `ok ${hash} read ${created} never\n# comment\n${line}\n`
    expect(() => parseKeyFile(text, 'keys')).toThrow(why)
    expect(() => parseKeyFile(text, 'keys')).toThrow(/^keys:3: /)
  })

  it('keeps its other lines when a key is added or deleted', async () => {
    const file = join(await folder(), 'keys')
    await addKey(file, storedKey('one', 'x'))
    await writeFile(file, `# mine\n${(await readFile(file, 'utf8')).trim()}`)
    await addKey(file, storedKey('two', 'y', 86_400_000))
    expect((await stat(file)).mode & 0o777).toBe(0o600)
    expect((await readFile(file, 'utf8')).split('\n').map((line) => line.split(' ')[0])).toEqual([
      '#',
      'one',
      'two',
      '',
    ])
    await expect(addKey(file, storedKey('two', 'z'))).rejects.toThrow('there is a key two already')
    expect(await deleteKey(file, 'one')).toBe(true)
    expect(await deleteKey(file, 'one')).toBe(false)
    expect([...parseKeyFile(await readFile(file, 'utf8'), file).keys()]).toEqual(['two'])
  })
})

describe('keys', () => {
  it('have a text from which the name can be read, whatever the random part is', () => {
    for (let count = 0; count < 200; count++) expect(nameInKey(createKeyText('a.b-c'))).toBe('a.b-c')
    for (const text of ['', 'tmq_a_', 'tmq__x', `tmq_a b_${'x'.repeat(43)}`, `${createKeyText('a')}x`])
      expect(nameInKey(text)).toBeUndefined()
    expect(keyNameFault('x'.repeat(33))).toBeDefined()
    expect(parseScopes('trace')).toEqual(new Set(['trace']))
  })

  it('are good until they expire, by a clock that is asked each time', async () => {
    const file = join(await folder(), 'keys')
    const text = createKeyText('a')
    const forged = createKeyText('a')
    await addKey(file, storedKey('a', text, 1_000))
    let now = 999
    const keys = await openKeys({ file, log: createSilentLog(), now: () => now })
    onTestFinished(() => keys.close())
    expect(keys.find(text).kind).toBe('good')
    expect(
      [forged, createKeyText('b'), '', createKeyText('local')].map((one) => keys.find(one).kind),
    ).toEqual(Array(4).fill('wrong'))
    now = 1_000
    expect(keys.find(text)).toMatchObject({ kind: 'expired', key: { name: 'a' } })
  })

  it('of the scope admin hold all scopes', () => {
    const key = { ...storedKey('a', 'x'), scopes: new Set(['admin' as const]) }
    expect((['read', 'write', 'trace', 'admin'] as const).every((scope) => hasScope(key, scope))).toBe(true)
    expect(hasScope(storedKey('a', 'x'), 'write')).toBe(false)
  })

  it('are none while the file is not there', async () => {
    const keys = await openKeys({ file: join(await folder(), 'none'), log: createSilentLog(), now: Date.now })
    onTestFinished(() => keys.close())
    expect(keys.find(createKeyText('a')).kind).toBe('wrong')
  })
})

describe('the file of the local key', () => {
  const url = 'http://127.0.0.1:1'

  it('is replaced when the process that wrote it is gone', async () => {
    const file = join(await folder(), 'sub', 'admin.key')
    const first = await writeLocalKey({ file, url, log: createSilentLog() })
    const own = await readFile(file, 'utf8')
    await first?.remove()
    // As a power cut leaves it: another start, the same number.
    await writeFile(file, own.replace(/\/(\d+)\//, '/1/'))
    const second = await writeLocalKey({ file, url, log: createSilentLog() })
    expect(await readFile(file, 'utf8')).toContain(second!.text)
    await second?.remove()
  })

  it('is not removed by a broker whose file it is not any more', async () => {
    const file = join(await folder(), 'admin.key')
    const local = await writeLocalKey({ file, url, log: createSilentLog() })
    await writeFile(file, 'tmq_local_other\n')
    await local?.remove()
    expect(await readFile(file, 'utf8')).toBe('tmq_local_other\n')
  })

  it('takes the place of nothing else, however it was named; what a power cut has left is nothing', async () => {
    const file = join(await folder(), 'admin.key')
    const precious = `a sha256:${'0'.repeat(64)} read 2026-11-21T12:00:00.000Z never\n`
    await writeFile(file, precious)
    expect(await writeLocalKey({ file, url, log: createSilentLog() })).toBeUndefined()
    expect(await readFile(file, 'utf8')).toBe(precious)
    expect(await readdir(dirname(file))).toEqual(['admin.key'])
    for (const left of ['', '\0'.repeat(120)]) {
      await writeFile(file, left)
      const local = await writeLocalKey({ file, url, log: createSilentLog() })
      expect(await readFile(file, 'utf8')).toContain(local!.text)
      await local?.remove()
    }
  })

  it('that cannot be written costs the local key and a warning, and not the start', async () => {
    const events: string[] = []
    const log = createLog(
      { level: 'info', format: 'json' },
      { write: (line: string) => void events.push(line) },
    )
    const blocked = join(await folder(), 'file')
    await writeFile(blocked, '')
    expect(await writeLocalKey({ file: join(blocked, 'admin.key'), url, log })).toBeUndefined()
    expect(events.join('')).toContain('no local key: its file cannot be written')
  })
})
