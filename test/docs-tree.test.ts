import { readdirSync, readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'

const root = new URL('../', import.meta.url)

interface TreeLine {
  readonly path: string
  readonly text: string
}

/** The drawing of src/: folders end with `/`, two spaces a level, then the file's line. */
function readTree(page: string): TreeLine[] {
  const drawing = /^```text\nsrc\/\n([\s\S]*?)^```$/m.exec(page)?.[1] ?? ''
  const folders: string[] = []
  const files: TreeLine[] = []
  for (const line of drawing.split('\n').filter((one) => one !== '')) {
    const [, indent = '', name = '', text = ''] = /^( *)(\S+) *(.*)$/.exec(line) ?? []
    folders.length = indent.length / 2 - 1
    if (name.endsWith('/')) folders.push(name)
    else files.push({ path: folders.join('') + name, text })
  }
  return files
}

describe('the tree in docs/architecture.md', () => {
  const tree = readTree(readFileSync(new URL('docs/architecture.md', root), 'utf8'))
  const files = readdirSync(new URL('src', root), { recursive: true, encoding: 'utf8' })
    .map((file) => file.replaceAll('\\', '/'))
    .filter((file) => /\.[jt]s$/.test(file))

  it('has a line for every file under src', () => {
    expect(files.length).toBeGreaterThan(100)
    const drawn = new Set(tree.map(({ path }) => path))
    expect(files.filter((file) => !drawn.has(file))).toEqual([])
  })

  it('names no file that is not there, and none twice', () => {
    const there = new Set(files)
    expect(tree.map(({ path }) => path).filter((path) => !there.has(path))).toEqual([])
    expect(new Set(tree.map(({ path }) => path)).size).toBe(tree.length)
  })

  it('says of every file what it is for', () => {
    expect(tree.filter(({ text }) => text === '').map(({ path }) => path)).toEqual([])
  })
})
