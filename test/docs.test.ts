import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { metricReference } from '../src/admin/metric-reference.ts'
import { configExample } from '../src/config/example.ts'
import { configSchemaText } from '../src/config/json-schema.ts'
import { configReference } from '../src/config/reference.ts'
import { ErrorCode } from '../src/errors.ts'

const read = (file: string): string => readFileSync(new URL(`../${file}`, import.meta.url), 'utf8')

describe('generated documents', () => {
  it.each([
    ['docs/configuration.md', configReference],
    ['docs/metrics.md', metricReference],
    ['config/tunnelmq.schema.json', configSchemaText],
    ['config/tunnelmq.example.yaml', configExample],
  ])('%s is what `npm run docs` writes', (file, generate) => {
    expect(read(file)).toBe(generate())
  })
})

describe('docs/errors.md', () => {
  it('has one line for each error code, and no other', () => {
    const lines = read('docs/errors.md').matchAll(/^\| `(TMQ_[A-Z_]+)` +\|/gm)
    const documented = [...lines].map((match) => match[1] ?? '')
    expect(documented).toHaveLength(Object.keys(ErrorCode).length)
    expect(new Set(documented)).toEqual(new Set<string>(Object.values(ErrorCode)))
  })
})
