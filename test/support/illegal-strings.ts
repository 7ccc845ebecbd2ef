/** Strings that no MQTT packet may hold (MQTT 3.1.1, 1.5.3), topics and filters that are none (4.7). */

type Named<T> = readonly (readonly [name: string, value: T])[]

export const illegalStrings: Named<Buffer> = [
  ['U+0000 alone', Buffer.from([0])],
  ['U+0000 in the middle', Buffer.from('a\0b')],
  ['U+0000 behind other characters', Buffer.from('ä\0')],
  ['a continuation byte alone', Buffer.from([0x61, 0x80])],
  ['a sequence that is cut', Buffer.from([0x61, 0xe2, 0x82])],
  ['an overlong slash', Buffer.from([0xc0, 0xaf])],
  ['an overlong U+0000', Buffer.from([0xc0, 0x80])],
  ['a surrogate', Buffer.from([0xed, 0xa0, 0x80])],
  ['a surrogate pair', Buffer.from([0xed, 0xa0, 0xbd, 0xed, 0xb8, 0x80])],
  ['a code point above U+10FFFF', Buffer.from([0xf4, 0x90, 0x80, 0x80])],
  ['0xff', Buffer.from([0xff])],
]

export const illegalTopics: Named<string> = [
  ['an empty topic', ''],
  ['#', '#'],
  ['+', '+'],
  ['a/#', 'a/#'],
  ['a/+/b', 'a/+/b'],
  ['a+', 'a+'],
  ['65 levels', 'a/'.repeat(64) + 'a'],
  ['more than 4096 bytes', 'x'.repeat(4_097)],
]

export const illegalFilters: Named<string> = [
  ['an empty filter', ''],
  ['a+', 'a+'],
  ['+a', '+a'],
  ['a/b+/c', 'a/b+/c'],
  ['a#', 'a#'],
  ['#a', '#a'],
  ['#/a', '#/a'],
  ['a/#/b', 'a/#/b'],
  ['a/b#', 'a/b#'],
  ['##', '##'],
  ['++', '++'],
  ['65 levels', 'a/'.repeat(64) + 'a'],
  ['more than 4096 bytes', 'x'.repeat(4_097)],
  ['$share without a group', '$share'],
  ['$share with an empty group', '$share//a'],
  ['$share without a filter', '$share/g'],
  ['$share with an empty filter', '$share/g/'],
  ['$share with a wildcard in the group', '$share/g+/a'],
  ['$share with an illegal filter', '$share/g/a+'],
]

/** Legal, and not what one meets every day. */
export const strangeTopics: Named<string> = [
  ['/', '/'],
  ['//', '//'],
  ['a space', ' '],
  ['U+FEFF', '\uFEFF'],
  ['U+10FFFF', '\u{10FFFF}'],
  ['a control character', '\u0001'],
  ['characters that are patterns elsewhere', '[a]?*\\'],
  ['$ alone', '$'],
]

/** Names that every plain object answers to. */
export const prototypeNames: readonly string[] = [
  ...Object.getOwnPropertyNames(Object.prototype),
  'prototype',
  'length',
  'then',
]
