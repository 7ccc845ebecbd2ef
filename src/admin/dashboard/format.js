/** Facts as a person reads them. Pure. */

const grouped = new Intl.NumberFormat('en-US')
const BINARY = ['B', 'KiB', 'MiB', 'GiB', 'TiB']
const MISSING = '–'

/** @param {number | null | undefined} value */
export function count(value) {
  return value === null || value === undefined ? MISSING : grouped.format(value)
}

/** Three digits that matter: `0.25`, `12.3`, `1,234`, `12.3 k`. @param {number | null} value */
export function rate(value) {
  if (value === null) return MISSING
  if (value >= 1e6) return `${digits(value / 1e6)} M`
  if (value >= 1e4) return `${digits(value / 1e3)} k`
  return value >= 100 ? grouped.format(Math.round(value)) : digits(value)
}

/** @param {number | null | undefined} value */
export function bytes(value) {
  if (value === null || value === undefined) return MISSING
  let unit = 0
  while (value >= 1_024 && unit < BINARY.length - 1) {
    value /= 1_024
    unit += 1
  }
  return `${unit === 0 ? Math.round(value) : digits(value)} ${BINARY[unit]}`
}

/** @param {number | null} value */
export function bytesPerSecond(value) {
  return value === null ? MISSING : `${bytes(value)}/s`
}

/** The two largest units: `3 d 4 h`, `12 s`. @param {number | null | undefined} seconds */
export function duration(seconds) {
  if (seconds === null || seconds === undefined) return MISSING
  const whole = Math.max(0, Math.floor(seconds))
  const parts = [
    [Math.floor(whole / 86_400), 'd'],
    [Math.floor(whole / 3_600) % 24, 'h'],
    [Math.floor(whole / 60) % 60, 'min'],
    [whole % 60, 's'],
  ]
  const first = parts.findIndex(([value]) => value !== 0)
  if (first === -1) return '0 s'
  const shown = parts.slice(first, first + 2).filter(([value]) => value !== 0)
  return shown.map(([value, unit]) => `${value} ${unit}`).join(' ')
}

/** @param {string | null | undefined} time ISO 8601 @param {number} [nowMs] */
export function since(time, nowMs = Date.now()) {
  return time ? duration((nowMs - Date.parse(time)) / 1_000) : MISSING
}

/** Time that is left. @param {string | null | undefined} time @param {number} [nowMs] */
export function until(time, nowMs = Date.now()) {
  return time ? duration((Date.parse(time) - nowMs) / 1_000) : MISSING
}

/** `2026-11-21 13:00:05`, of this browser's time zone. @param {string | null | undefined} time */
export function dateTime(time) {
  if (!time) return MISSING
  const date = new Date(time)
  const day = [date.getFullYear(), date.getMonth() + 1, date.getDate()].map(twoDigits).join('-')
  return `${day} ${clock(time)}`
}

/** The clock, and the day where it is another one. @param {string} time @param {number} [nowMs] */
export function shortTime(time, nowMs = Date.now()) {
  const isToday = new Date(time).toDateString() === new Date(nowMs).toDateString()
  return isToday ? clock(time) : dateTime(time)
}

/** `13:00:05`. @param {string} time */
export function clock(time) {
  const date = new Date(time)
  return [date.getHours(), date.getMinutes(), date.getSeconds()].map(twoDigits).join(':')
}

/** `13:00:05.120`. @param {string} time */
export function preciseClock(time) {
  return `${clock(time)}.${String(new Date(time).getMilliseconds()).padStart(3, '0')}`
}

/** @param {string | null | undefined} text */
export function orMissing(text) {
  return text === null || text === undefined || text === '' ? MISSING : visible(text)
}

/**
 * What a client chose, so that a person sees what it is: characters that hide, or turn the direction of what
 * follows, are written as their code; a text that is very long is cut.
 *
 * @param {string} text
 * @param {number} [most]
 */
export function visible(text, most = 240) {
  const shown = text.replaceAll(/[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}\u115f\u1160\u3164\uffa0]/gu, (character) => {
    const code = character.codePointAt(0)?.toString(16) ?? ''
    return code.length > 4 ? `\\u{${code}}` : `\\u${code.padStart(4, '0')}`
  })
  return shown.length > most ? `${shown.slice(0, most)}… (${grouped.format(text.length)} characters)` : shown
}

/** `1 client`, `2 clients`. @param {number} number @param {string} noun */
export function counted(number, noun) {
  return `${count(number)} ${noun}${number === 1 ? '' : 's'}`
}

/** @param {number} value */
function digits(value) {
  if (value === 0) return '0'
  if (value < 0.01) return '<0.01'
  const text = value < 10 ? value.toFixed(2) : value < 100 ? value.toFixed(1) : String(Math.round(value))
  return text.includes('.') ? text.replace(/\.?0+$/, '') : text
}

/** @param {number} value */
function twoDigits(value) {
  return String(value).padStart(2, '0')
}
