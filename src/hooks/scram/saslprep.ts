/**
 * SASLprep (RFC 4013) with the tables of Unicode that Node has: names and passwords that look the same are the same. Pure.
 * A string of what is wrong is in `fault`; characters that Unicode 3.2 did not have are taken as NFKC leaves them.
 */
export function saslprep(text: string): { readonly text: string } | { readonly fault: string } {
  if (/^[ -~]*$/.test(text)) return { text }
  // Half of a pair of surrogates becomes another character on the way.
  if (Buffer.from(text).toString() !== text) return { fault: 'it is no text' }
  const made = text.replace(NON_ASCII_SPACE, ' ').replace(MAPPED_TO_NOTHING, '').normalize('NFKC')
  const prohibited = PROHIBITED.exec(made)
  if (prohibited !== null) {
    const code = prohibited[0].codePointAt(0)!.toString(16).toUpperCase().padStart(4, '0')
    return { fault: `the character U+${code} is not allowed in names and passwords` }
  }
  return isOneWay(made) ? { text: made } : { fault: 'it mixes writing from the right and from the left' }
}

/** RFC 3454, C.1.2. */
const NON_ASCII_SPACE = /[\u00a0\u1680\u2000-\u200b\u202f\u205f\u3000]/g
/** RFC 3454, B.1. */
// oxlint-disable-next-line no-misleading-character-class -- a table of single characters, some of which join others
const MAPPED_TO_NOTHING = /[\u00ad\u034f\u1806\u180b-\u180d\u200b-\u200d\u2060\ufe00-\ufe0f\ufeff]/g
/** RFC 4013, 2.3: control, private use, non-characters, what is not for plain text, what changes how others look, tags; and unassigned ones. */
const PROHIBITED =
  /[\p{Cc}\p{Co}\p{Cs}\p{Cn}\u06dd\u070f\u180e\u200c-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffd\u2ff0-\u2ffb\u{1d173}-\u{1d17a}\u{e0001}\u{e0020}-\u{e007f}]/u

const RIGHT_TO_LEFT = /[\p{Script=Hebrew}\p{Script=Arabic}\p{Script=Syriac}\p{Script=Thaana}]/u

/** RFC 3454, 6. */
function isOneWay(text: string): boolean {
  if (!RIGHT_TO_LEFT.test(text)) return true
  const characters = Array.from(text)
  const ends = [characters[0]!, characters.at(-1)!]
  return (
    ends.every((character) => RIGHT_TO_LEFT.test(character)) &&
    characters.every((character) => RIGHT_TO_LEFT.test(character) || !/\p{L}/u.test(character))
  )
}
