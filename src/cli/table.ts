/** Rows under headings, for a terminal; numbers to the right. */
export function formatTable(headings: readonly string[], rows: readonly (string | number)[][]): string {
  const lines = [headings, ...rows]
  const widths = headings.map((_, column) =>
    Math.max(...lines.map((line) => String(line[column] ?? '').length)),
  )
  const format = (line: readonly (string | number)[]): string =>
    line
      .map((cell, column) => {
        const width = widths[column] ?? 0
        return typeof cell === 'number' ? String(cell).padStart(width) : cell.padEnd(width)
      })
      .join('  ')
      .trimEnd()
  return `${lines.map(format).join('\n')}\n`
}
