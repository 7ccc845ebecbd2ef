import { readFileSync } from 'node:fs'

/** The instructions of a Dockerfile, so far as ours has them: no heredocs, no ONBUILD. */

export interface Instruction {
  readonly word: string
  readonly text: string
}

export interface Stage {
  readonly name: string
  readonly instructions: readonly Instruction[]
}

export interface Copy {
  /** Stage that it comes from; undefined: the context. */
  readonly from: string | undefined
  readonly sources: readonly string[]
  readonly target: string
}

export function readDockerfile(file: string | URL): readonly Stage[] {
  const text = readFileSync(file, 'utf8')
    .replaceAll(/^\s*#.*\n/gm, '')
    .replaceAll(/\\\n\s*/g, '')
  const stages: { name: string; instructions: Instruction[] }[] = []
  for (const line of text.split('\n').filter((one) => one.trim() !== '')) {
    const [, word = '', rest = ''] = /^(\S+)\s+(.*)$/.exec(line) ?? []
    if (word === 'FROM') stages.push({ name: / AS (\S+)/.exec(rest)?.[1] ?? '', instructions: [] })
    else stages.at(-1)?.instructions.push({ word, text: rest })
  }
  return stages
}

export function readCopy({ text }: Instruction): Copy {
  const words = text.split(/\s+/)
  const paths = words.filter((word) => !word.startsWith('--'))
  const from = words.find((word) => word.startsWith('--from='))?.slice('--from='.length)
  return { from, sources: paths.slice(0, -1), target: paths.at(-1) ?? '' }
}

/** The last instruction of a kind that is written as a JSON list: ENTRYPOINT, CMD, HEALTHCHECK. */
export function readList(stage: Stage, word: string): readonly string[] {
  const text = stage.instructions.findLast((one) => one.word === word)?.text ?? ''
  return JSON.parse(text.slice(text.indexOf('["'))) as string[]
}

/** ENV of the stage. */
export function readEnvironment(stage: Stage): Readonly<Record<string, string>> {
  const words = stage.instructions
    .filter(({ word }) => word === 'ENV')
    .flatMap(({ text }) => text.split(/\s+/))
  return Object.fromEntries(
    words.map((one) => [one.slice(0, one.indexOf('=')), one.slice(one.indexOf('=') + 1)]),
  )
}
