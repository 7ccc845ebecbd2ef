import type { ConfigInput } from '../config/schema.ts'

/** One line of the other broker's configuration. */
export interface Setting {
  readonly key: string
  readonly value: string
  readonly file: string
  /** From 1. */
  readonly line: number
}

/**
 * What became of a setting. `carried`: means the same here. `changed`: something like it is there, and the text says
 * how it differs. `needless`: nothing to be done here. `lost`: cannot be carried over, and somebody should think of it.
 */
export type Effect = 'carried' | 'changed' | 'needless' | 'lost'

export interface Note {
  readonly effect: Effect
  readonly file: string
  /** From 1; 0: of the file as a whole. */
  readonly line: number
  /** Name of the setting. Never its value, which may be a secret. */
  readonly key: string
  readonly text: string
}

/** A file that the new configuration needs, and which is made out of one of the other broker's. */
export interface RightsFile {
  readonly kind: 'acl' | 'passwords'
  readonly source: string
}

export type ListenerDraft = NonNullable<ConfigInput['listeners']>[number]
export type BridgeDraft = NonNullable<ConfigInput['bridges']>[number]

/** The new configuration while it is made, with a note for every setting that was read. */
export class Draft {
  readonly config: ConfigInput & { listeners: ListenerDraft[]; bridges: BridgeDraft[] } = {
    listeners: [],
    bridges: [],
  }
  readonly notes: Note[] = []
  /** Passwords of bridges, by the name of the bridge: they go into files of their own. */
  readonly bridgePasswords = new Map<string, string>()

  note(effect: Effect, { key, file, line }: Omit<Setting, 'value'>, text: string): void {
    this.notes.push({ effect, key, file, line, text })
  }

  carried(setting: Setting, where: string): void {
    this.note('carried', setting, where)
  }
}

/** What to do with one key; the table of a broker has all that its documentation names. */
export type Rule = (setting: Setting, draft: Draft) => void

export const needless =
  (text: string): Rule =>
  (setting, draft) =>
    draft.note('needless', setting, text)

export const lost =
  (text: string): Rule =>
  (setting, draft) =>
    draft.note('lost', setting, text)

export const changed =
  (text: string): Rule =>
  (setting, draft) =>
    draft.note('changed', setting, text)

/** Lost, unless it has the value with which it does nothing. */
export const lostUnless =
  (idle: readonly string[], text: string): Rule =>
  (setting, draft) =>
    draft.note(
      idle.includes(setting.value) ? 'needless' : 'lost',
      setting,
      idle.includes(setting.value) ? 'has no effect' : text,
    )

/** `true` and `1`, `false` and `0`, as mosquitto has it; undefined, with a note, when it is none of them. */
export function onOff(setting: Setting, draft: Draft): boolean | undefined {
  if (setting.value === 'true' || setting.value === '1') return true
  if (setting.value === 'false' || setting.value === '0') return false
  draft.note('lost', setting, 'is neither true nor false')
  return undefined
}

/** A whole number, or undefined with a note. */
export function wholeNumber(setting: Setting, draft: Draft): number | undefined {
  if (/^-?\d{1,15}$/.test(setting.value)) return Number(setting.value)
  draft.note('lost', setting, 'is not a whole number')
  return undefined
}

/** A number, put where it belongs; `unlimited` are values by which the other broker means no limit. */
export const number =
  (
    where: string,
    put: (config: Draft['config'], value: number) => void,
    options: { scale?: number; unlimited?: readonly number[]; unlimitedMeans?: number } = {},
  ): Rule =>
  (setting, draft) => {
    const value = wholeNumber(setting, draft)
    if (value === undefined) return
    if (options.unlimited?.includes(value)) {
      if (options.unlimitedMeans === undefined) {
        draft.note('changed', setting, `no limit there; here the default of ${where} stays, which is one`)
        return
      }
      put(draft.config, options.unlimitedMeans)
    } else if (value < 0) {
      draft.note('lost', setting, 'is negative')
      return
    } else put(draft.config, value * (options.scale ?? 1))
    draft.carried(setting, where)
  }

const units: Readonly<Record<string, number>> = {
  h: 3_600,
  d: 86_400,
  w: 604_800,
  m: 2_592_000,
  y: 31_536_000,
}

/** `2w`, `never`: how long sessions stay. Both brokers count months of 30 days and years of 365. */
export const sessionExpiry: Rule = (setting, draft) => {
  const [, count = '', unit = ''] = /^(\d{1,6})([hdwmy])$/.exec(setting.value) ?? []
  if (setting.value === 'never') draft.config.session = { ...draft.config.session, expiryMs: 0 }
  else if (count === '' || Number(count) === 0) {
    draft.note('lost', setting, 'is not a number with h, d, w, m or y')
    return
  } else
    draft.config.session = {
      ...draft.config.session,
      expiryMs: Number(count) * (units[unit] ?? 1) * 1_000,
    }
  draft.carried(setting, 'session.expiryMs')
}

/** As {@link Rule}, for a setting of one listener or bridge. */
export type RuleOf<Facts> = (setting: Setting, facts: Facts, draft: Draft) => void

export const noting =
  (rule: Rule): RuleOf<unknown> =>
  (setting, _facts, draft) =>
    rule(setting, draft)

/** A text that means the same here. */
export const sameText =
  <Facts>(where: string, put: (facts: Facts, value: string) => void): RuleOf<Facts> =>
  (setting, facts, draft) => {
    put(facts, setting.value)
    draft.carried(setting, where)
  }

/** A name of the other broker's as one of ours: listeners and bridges have letters, digits and `._-`. */
export function ourName(name: string): string {
  return name.replaceAll(/[^A-Za-z0-9._-]/g, '-').slice(0, 64)
}
