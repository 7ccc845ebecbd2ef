/**
 * A page of documentation as steps that can be followed. Each block of code with a shell in it is run, unless a comment
 * right above it says why not; comments also say what a reader does beside typing:
 *
 *     <!-- not run: REASON -->        this block is not run
 *     <!-- until: PATTERN -->         the block goes on running; it is there when its output matches
 *     <!-- each until: PATTERN -->    the same, each line in a terminal of its own
 *     <!-- file: NAME -->             the reader writes this block into a file
 *     <!-- input: TEXT -->            the reader types this, when asked; \n is Enter
 *     <!-- reader: COMMAND -->        stands alone: what the text says in words; `$broker` is the process group of the
 *                                     broker that was started last, as in `kill -9 -- -$broker`
 *     <!-- reader broker: COMMAND --> the same, and it is a broker, which goes on running
 */
export type Step =
  | { readonly kind: 'run'; readonly line: number; readonly script: string; readonly input: string }
  /** Of a `console` block: the output has these lines in order; `...` stands for any. */
  | {
      readonly kind: 'compare'
      readonly line: number
      readonly script: string
      readonly expected: readonly string[]
    }
  | {
      readonly kind: 'background'
      readonly line: number
      readonly scripts: readonly string[]
      readonly until: RegExp
    }
  | { readonly kind: 'file'; readonly line: number; readonly name: string; readonly text: string }
  | { readonly kind: 'not run'; readonly line: number; readonly reason: string }

interface Comment {
  readonly verb: string
  readonly text: string
}

const shells = new Set(['sh', 'bash', 'shell', 'console'])
const verbs = new Set(['not run', 'until', 'each until', 'file', 'input'])

/** Throws when a block does not end, or a comment stands where there is none. */
export function parsePage(markdown: string, name: string): Step[] {
  const lines = markdown.split('\n')
  const steps: Step[] = []
  let comments: Comment[] = []
  for (let index = 0; index < lines.length; index++) {
    const line = lines[index]!
    const comment = /^<!--\s*([a-z ]+):\s*(.*?)\s*-->$/.exec(line)
    const fence = /^```(\w*)/.exec(line)
    if (comment !== null) {
      const [, verb = '', text = ''] = comment
      if (verb === 'reader') steps.push({ kind: 'run', line: index + 1, script: text, input: '' })
      else if (verb === 'reader broker')
        steps.push({ kind: 'background', line: index + 1, scripts: [text], until: / is ready/ })
      // Others are not for readers: `bench` says where figures come from.
      else if (verbs.has(verb)) comments.push({ verb, text })
    } else if (fence !== null) {
      const end = lines.indexOf('```', index + 1)
      if (end === -1) throw new Error(`${name}:${index + 1}: the block does not end`)
      steps.push(...stepsOf(lines.slice(index + 1, end), fence[1] ?? '', index + 2, comments))
      comments = []
      index = end
    } else if (line.trim() !== '' && comments.length > 0) {
      throw new Error(`${name}:${index + 1}: <!-- ${comments[0]!.verb}: --> does not stand above a block`)
    }
  }
  return steps
}

function stepsOf(
  code: readonly string[],
  language: string,
  line: number,
  comments: readonly Comment[],
): Step[] {
  const said = (verb: string) => comments.find((comment) => comment.verb === verb)?.text
  const file = said('file')
  if (file !== undefined) return [{ kind: 'file', line, name: file, text: `${code.join('\n')}\n` }]
  if (!shells.has(language)) return []
  const reason = said('not run')
  if (reason !== undefined) return [{ kind: 'not run', line, reason }]
  if (language === 'console') return dialogue(code, line, said('until'))
  const each = said('each until')
  const until = said('until') ?? each
  const script = code.join('\n')
  if (until !== undefined) {
    const scripts =
      each === undefined ? [script] : script.replaceAll('\\\n', ' ').split('\n').filter(isCommand)
    return [{ kind: 'background', line, scripts, until: new RegExp(until) }]
  }
  return [{ kind: 'run', line, script, input: (said('input') ?? '').replaceAll('\\n', '\n') }]
}

/** `$ command`, and what it prints. With `until`, the last command goes on. */
function dialogue(code: readonly string[], line: number, until: string | undefined): Step[] {
  const steps: Step[] = []
  for (const [index, text] of code.entries()) {
    if (!text.startsWith('$ ')) continue
    const next = code.findIndex((other, at) => at > index && other.startsWith('$ '))
    const expected = code.slice(index + 1, next === -1 ? undefined : next)
    const script = text.slice(2)
    if (next === -1 && until !== undefined)
      steps.push({ kind: 'background', line: line + index, scripts: [script], until: new RegExp(until) })
    else steps.push({ kind: 'compare', line: line + index, script, expected })
  }
  return steps
}

function isCommand(line: string): boolean {
  return line.trim() !== '' && !line.trim().startsWith('#')
}

/** Why this output is not the one on the page; undefined: it is. Figures, times and ids may differ. */
export function difference(output: string, expected: readonly string[]): string | undefined {
  const shape = (text: string) =>
    text
      .replaceAll(/[0-9a-f]{8}-[0-9a-f-]{27}/g, 'ID')
      .replaceAll(/\d{4}-\d\d-\d\d([T ][\d:.]+Z?)?/g, 'TIME')
      .replaceAll(/\d+/g, '0')
      .replaceAll(/\s+/g, ' ')
      .trim()
  const left = output.split('\n').map(shape)
  let from = 0
  let mayJump = false
  for (const line of expected) {
    if (line.trim() === '...') {
      mayJump = true
      continue
    }
    const at = left.indexOf(shape(line), from)
    if (at === -1 || (!mayJump && at !== from && from > 0))
      return `expected the line ${JSON.stringify(line)} in:\n${output}`
    from = at + 1
    mayJump = false
  }
  return undefined
}
