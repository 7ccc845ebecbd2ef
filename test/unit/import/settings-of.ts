import type { Draft, Effect, Setting } from '../../../src/import/draft.ts'

/** The settings of a text in the syntax of one of the brokers, as the reader of files gives them. */
export function settingsOf(text: string, syntax: 'mosquitto' | 'vernemq'): Setting[] {
  return text.split('\n').flatMap((line, index) => {
    const [, key = '', value = ''] =
      /^\s*(\S+?)(?:\s*=\s*|\s+|$)(.*)$/.exec(syntax === 'vernemq' ? line.replace(/#.*/, '') : line) ?? []
    return key === '' ? [] : [{ key, value: value.trim(), file: 'test.conf', line: index + 1 }]
  })
}

export function notesOf({ notes }: Draft, effect: Effect): string[] {
  return notes.filter((note) => note.effect === effect).map(({ key }) => key)
}
