import { describe, expect, it } from 'vitest'
import { formatTable, printable, terminalWidth } from '../../../src/cli/table.ts'

describe('a table', () => {
  it('has columns as wide as they need, with numbers to the right', () => {
    expect(
      formatTable(
        ['name', 'n'],
        [
          ['a', 5],
          ['abcdef', 123],
        ],
      ),
    ).toBe('name    n\na         5\nabcdef  123\n')
  })

  it('shortens the widest columns until a row fits the terminal, and says so', () => {
    const text = formatTable(['id', 'topic', 'n'], [['x'.repeat(40), 'y'.repeat(60), 12_345]], 50)
    const [, row = ''] = text.split('\n')
    expect(row).toHaveLength(50)
    expect(row).toMatch(/^x{19,21}…  y{19,21}…  12345$/)
  })

  it('gives each column its least width on a terminal that is too narrow for all', () => {
    const [, row = ''] = formatTable(['a', 'b'], [['x'.repeat(20), 'y'.repeat(20)]], 5).split('\n')
    expect(row).toBe('xxxxxxx…  yyyyyyy…')
  })

  it('counts letters of East Asia and emoji as two columns, and marks as none', () => {
    const rows = formatTable(
      ['id', 'n'],
      [
        ['日本', 1],
        ['e\u0301', 2],
        ['😀', 3],
      ],
    )
      .trimEnd()
      .split('\n')
    expect(rows).toEqual(['id    n', '日本  1', 'e\u0301     2', '😀    3'])
    expect(formatTable(['id'], [['日本語日本語']], 8)).toBe('id\n日本語…\n')
  })

  it('shows what would move the cursor, change colours or turn the writing, and does nothing of it', () => {
    const hostile = 'a\u001b[31m\u0007\r\nb\u009b2J\u202ec\u2028d\u0000'
    const text = formatTable(['id'], [[hostile]])
    expect(text).toBe('id\na\\x1b[31m\\x07\\x0d\\x0ab\\x9b2J\\u{202e}c\\u{2028}d\\x00\n')
    expect(printable('\ud800')).toBe('\\u{d800}')
  })

  it('is as wide as a terminal, and has no end in a pipe', () => {
    expect(terminalWidth({ isTTY: true, columns: 120 })).toBe(120)
    expect(terminalWidth({ isTTY: false, columns: 120 })).toBe(Infinity)
    expect(terminalWidth({ isTTY: true, columns: 0 })).toBe(Infinity)
  })
})
