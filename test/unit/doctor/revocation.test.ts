import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it, onTestFinished } from 'vitest'
import { configSchema } from '../../../src/config/schema.ts'
import { checkRevocationLists, judgeList } from '../../../src/doctor/revocation.ts'
import { createOpensslCa } from '../../support/openssl-ca.ts'

const HOUR_MS = 3_600_000
const list = { file: 'ca.crl', thisUpdateMs: 0, nextUpdateMs: 1_000 * HOUR_MS, onStale: 'refuse' } as const

it('warns before a revocation list goes out of date, and says what happens then', () => {
  expect(judgeList(list, 100 * HOUR_MS).state).toBe('ok')
  expect(judgeList(list, 950 * HOUR_MS)).toMatchObject({ state: 'warn' })
  expect(judgeList(list, 1_001 * HOUR_MS)).toMatchObject({ state: 'fail' })
  expect(judgeList({ ...list, onStale: 'accept' }, 1_001 * HOUR_MS)).toMatchObject({ state: 'warn' })
  expect(judgeList({ ...list, nextUpdateMs: undefined }, 1_001 * HOUR_MS).state).toBe('ok')
})

it('reads the lists of all certificate handlers', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'tmq-doctor-'))
  onTestFinished(() => rm(folder, { recursive: true }))
  const good = await (await createOpensslCa(folder, 'ca')).crl(join(folder, 'good.crl'))
  const broken = join(folder, 'broken.crl')
  await writeFile(broken, 'nonsense')
  const certificate = { type: 'certificate', revocation: { crl: { files: [good, broken] } } } as const
  const findings = await checkRevocationLists(configSchema.parse({ handlers: [certificate] }))
  expect(findings.map(({ state }) => state)).toEqual(['ok', 'fail'])
  expect(findings[1]?.seen).toContain(`${broken}: is not DER`)
})
