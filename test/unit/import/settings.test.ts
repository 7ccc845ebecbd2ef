import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { MISSING_INCLUDE, readSettings } from '../../../src/import/settings.ts'
import { temporaryFolder } from '../../support/broker-world.ts'

async function settingsOf(text: string, syntax: 'mosquitto' | 'vernemq'): Promise<string[]> {
  const file = join(await temporaryFolder(), 'test.conf')
  await writeFile(file, text)
  return (await readSettings(file, syntax)).map(({ key, value }) => `${key}=${value}`)
}

describe('files of settings', () => {
  it('have a # in quotes that begins no comment', async () => {
    expect(await settingsOf("a = 'u#1' # note\r\nb = x#y\r\nc = it's # so\n", 'vernemq')).toEqual([
      'a=u#1',
      'b=x',
      "c=it's",
    ])
  })

  it('may include each other, and nothing is read twice', async () => {
    const folder = await temporaryFolder()
    await mkdir(join(folder, 'd'))
    await writeFile(join(folder, 'a.conf'), '\ufeffport\t1\ninclude_dir d\n')
    await writeFile(join(folder, 'd', 'b.conf'), `max_qos 1\ninclude_dir ${folder}\n`)
    const settings = await readSettings(join(folder, 'a.conf'), 'mosquitto')
    expect(settings.map(({ key, value }) => `${key}=${value}`)).toEqual(['port=1', 'max_qos=1'])
  })

  it.each(['include_dir /no/such/folder', 'include conf.d/*.conf'])(
    'say that a folder is missing: %s',
    async (line) => {
      const syntax = line.startsWith('include_dir') ? 'mosquitto' : 'vernemq'
      expect(await settingsOf(line, syntax)).toEqual([expect.stringContaining(MISSING_INCLUDE)])
    },
  )
})
