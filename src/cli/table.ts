type Cell = string | number

/** Between columns. */
const GAP = 2
/** A column is not made narrower than this, however narrow the terminal is. */
const MIN_WIDTH = 8

/**
 * Rows under headings; numbers to the right. With `width` (columns of a terminal) the widest columns are shortened until
 * a row fits. What would move the cursor or change colours is shown and does nothing: names come from clients.
 */
export function formatTable(
  headings: readonly string[],
  rows: readonly (readonly Cell[])[],
  width = Infinity,
): string {
  const lines = [headings, ...rows].map((line) =>
    line.map((cell) => (typeof cell === 'number' ? cell : printable(cell))),
  )
  const natural = headings.map((_, column) =>
    Math.max(...lines.map((line) => displayWidth(String(line[column] ?? '')))),
  )
  const widths = fitted(natural, width - GAP * (headings.length - 1))
  const format = (line: readonly Cell[]): string =>
    line
      .map((cell, column) => padded(cell, widths[column] ?? 0))
      .join(' '.repeat(GAP))
      .trimEnd()
  return `${lines.map(format).join('\n')}\n`
}

/** Control and format characters, with those that turn the direction of writing, as escapes: `\x1b`, `\u{202e}`. */
export function printable(text: string): string {
  return text.replaceAll(/[\p{C}\p{Zl}\p{Zp}]/gu, (character) => {
    const code = character.codePointAt(0) ?? 0
    return code < 0x100 ? `\\x${code.toString(16).padStart(2, '0')}` : `\\u{${code.toString(16)}}`
  })
}

/** Columns of the terminal that a command writes to; infinite into a pipe or file. */
export function terminalWidth(
  output: Pick<NodeJS.WriteStream, 'isTTY' | 'columns'> = process.stdout,
): number {
  return output.isTTY && output.columns > 0 ? output.columns : Infinity
}

function padded(cell: Cell, width: number): string {
  const text = shortened(String(cell), width)
  const padding = ' '.repeat(Math.max(0, width - displayWidth(text)))
  return typeof cell === 'number' ? padding + text : text + padding
}

/** Takes from the widest first. */
function fitted(natural: readonly number[], available: number): readonly number[] {
  const widths = [...natural]
  let excess = widths.reduce((sum, width) => sum + width, 0) - available
  while (excess > 0) {
    const widest = widths.indexOf(Math.max(...widths))
    if ((widths[widest] ?? 0) <= MIN_WIDTH) break
    widths[widest] = (widths[widest] ?? 0) - 1
    excess--
  }
  return widths
}

function shortened(text: string, width: number): string {
  if (displayWidth(text) <= width) return text
  let kept = ''
  let columns = 0
  for (const character of text) {
    columns += displayWidth(character)
    if (columns > width - 1) break
    kept += character
  }
  return `${kept}…`
}

const wide =
  /[\u1100-\u115f\u2e80-\u303e\u3041-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6\u{20000}-\u{3fffd}]|\p{Emoji_Presentation}/u
const plain = /^[ -~]*$/

/** As terminals do it: East Asian letters and emoji take two columns, marks on other letters none. */
function displayWidth(text: string): number {
  if (plain.test(text)) return text.length
  let columns = 0
  for (const character of text) columns += wide.test(character) ? 2 : /\p{M}/u.test(character) ? 0 : 1
  return columns
}
