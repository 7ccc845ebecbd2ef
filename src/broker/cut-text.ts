/** Of topics, client ids, names and reasons: whoever sends them can make them as long as a packet. */
const MAX_TEXT_BYTES = 256

/** What others have written, for people: at a character, within {@link MAX_TEXT_BYTES}. */
export function cutText(text: string): string {
  // A unit of UTF-16 is three bytes at most.
  if (text.length * 3 <= MAX_TEXT_BYTES || Buffer.byteLength(text) <= MAX_TEXT_BYTES) return text
  const bytes = Buffer.from(text.slice(0, MAX_TEXT_BYTES))
  let end = MAX_TEXT_BYTES
  while ((bytes[end]! & 0xc0) === 0x80) end--
  return bytes.toString('utf8', 0, end)
}
