import { mkdirSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'

/** What the pages of all benches are made of. */

/** Above this load in the minute before the run, others were at work on the machine. */
export const BUSY_LOAD = 0.5

export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string => `| ${cells.map(escapeCell).join(' | ')} |`
  return [line(head), `|${'---|'.repeat(head.length)}`, ...rows.map(line)].join('\n')
}

function escapeCell(text: string): string {
  return text.replaceAll('|', '\\|').replaceAll('\n', ' ')
}

export function format(value: number | undefined): string {
  if (value === undefined) return ''
  if (value >= 1000) return Math.round(value).toLocaleString('en-US')
  return value >= 100 ? value.toFixed(0) : value.toFixed(value >= 10 ? 1 : 2)
}

export function formatRatio(value: number | undefined): string {
  return value === undefined ? '' : `${value.toFixed(2)}x`
}

/** `path` is without the ending: `.json` for every run, `.md` for the page. */
export function savePage(results: unknown, page: string, path: string): void {
  mkdirSync(dirname(path), { recursive: true })
  writeFileSync(`${path}.json`, `${JSON.stringify(results, null, 1)}\n`)
  writeFileSync(`${path}.md`, page)
  process.stderr.write(`saved as ${path}.md and .json\n`)
}
