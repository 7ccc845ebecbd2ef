import { readdirSync, readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { idsOf, mqtt3, mqtt5, type Standard } from './statements.ts'

const root = new URL('../../', import.meta.url)

interface Title {
  readonly file: string
  readonly text: string
  readonly ids: readonly string[]
}

/** Titles of tests, and of the rows of `it.each`, which have ids of statements. */
function titlesUnder(folder: string): Title[] {
  return readdirSync(new URL(folder, root), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.test.ts'))
    .toSorted()
    .flatMap((name) => {
      const file = `${folder}/${name.replaceAll('\\', '/')}`
      const source = readFileSync(new URL(file, root), 'utf8')
      return [
        ...source.matchAll(/(["'`])((?:(?!\1)[^\n\\]|\\.)*\[MQTT-[\d.]+-\d+\](?:(?!\1)[^\n\\]|\\.)*)\1/g),
      ].map(([, , text = '']) => ({
        file,
        text: text.replaceAll('\\', ''),
        ids: [...text.matchAll(/\[(MQTT-[\d.]+-\d+)\]/g)].map(([, id = '']) => id),
      }))
    })
}

const titles = titlesUnder('test')

interface Row {
  readonly id: string
  readonly statement: string
  readonly proof: string
}

function rowsOf(standard: Standard): Row[] {
  const { folder, elsewhere, notApplicable, notMet } = standard
  const own = titles.filter(({ file }) => file.startsWith(`test/conformance/${folder}/`))
  return idsOf(standard).flatMap((id): Row[] => {
    const link = (file: string): string => `tested: [${file.replace('test/', '')}](../${file})`
    const rows = own
      .filter(({ ids }) => ids.includes(id))
      .map(({ text, file }) => ({
        statement: text.replaceAll(/\[MQTT-[\d.]+-\d+\] ?/g, '').trim(),
        proof: link(file),
      }))
    const other = elsewhere[id]
    if (other !== undefined) {
      const title = titles.find(({ file, ids }) => file === other && ids.includes(id))
      if (title !== undefined)
        rows.push({
          statement: title.text.replaceAll(/ ?\[MQTT-[\d.]+-\d+\]/g, '').trim(),
          proof: link(other),
        })
    }
    const why = notApplicable[id]
    if (why !== undefined) rows.push({ statement: why, proof: 'not applicable' })
    const instead = notMet[id]
    if (instead !== undefined) rows.push({ statement: instead, proof: 'not met' })
    return rows.map((row) => ({ id, ...row }))
  })
}

const standards = [mqtt5, mqtt3].map((standard) => ({ standard, rows: rowsOf(standard) }))

describe.each(standards)('MQTT $standard.version', ({ standard, rows }) => {
  const ids = idsOf(standard)

  it('has each of its statements once in the table: tested, not applicable, or not met', () => {
    expect(ids.filter((id) => rows.every((row) => row.id !== id))).toEqual([])
    expect(rows.map(({ id }) => id).filter((id, index, all) => all.indexOf(id) !== index)).toEqual([])
    expect(rows.map(({ id }) => id)).toEqual(ids)
  })

  it('has as many statements as its appendix B', () => {
    expect(ids).toHaveLength(standard === mqtt5 ? 251 : 142)
  })

  it('says nothing of statements that there are not', () => {
    const known = new Set(ids)
    const named = [standard.elsewhere, standard.notApplicable, standard.notMet].flatMap(Object.keys)
    const tested = titles.filter(({ file }) => file.startsWith(`test/conformance/${standard.folder}/`))
    expect([...named, ...tested.flatMap((title) => title.ids)].filter((id) => !known.has(id))).toEqual([])
  })
})

it('is named by no test elsewhere that names a statement which neither version has', () => {
  const known = new Set([mqtt5, mqtt3].flatMap(idsOf))
  expect(
    titles.flatMap(({ file, ids }) => ids.filter((id) => !known.has(id)).map((id) => `${file}: ${id}`)),
  ).toEqual([])
})

// Written anew by: npx vitest run test/conformance/table.test.ts -u
it('is what docs/conformance.md says', async () => {
  await expect(page()).toMatchFileSnapshot(new URL('docs/conformance.md', root).pathname)
})

function page(): string {
  return `${[
    '# Conformance',
    '',
    'Which normative statements of MQTT 5.0 and MQTT 3.1.1 (appendix B of the OASIS standards) are met, and where that is tested. Each test sends packets to a broker and looks at what comes back; its title has the id of the statement.',
    '',
    'This page is made from the titles of the tests and from `test/conformance/statements.ts`: `npx vitest run test/conformance/table.test.ts -u`.',
    ...standards.flatMap(({ standard, rows }) => ['', ...section(standard, rows)]),
  ].join('\n')}\n`
}

function section({ version }: Standard, rows: readonly Row[]): string[] {
  const count = (word: string): number => rows.filter(({ proof }) => proof.startsWith(word)).length
  const cells = (values: readonly string[]): string => `| ${values.join(' | ')} |`
  return [
    `## MQTT ${version}`,
    '',
    `${rows.length} statements: ${count('tested')} tested, ${count('not applicable')} not applicable, ${count('not met')} not met.`,
    '',
    cells(['statement', 'in short', 'proof']),
    cells(['---', '---', '---']),
    ...rows.map(({ id, statement, proof }) => cells([id, statement.replaceAll('|', '\\|'), proof])),
  ]
}
